//! Which call is meant by a method and a path. Invariant: [`Route::ALL`] is the whole API; the OpenAPI document is tested against it.

use crate::http;

/// A call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /orders`
    CreateOrder,
    /// `GET /orders`
    ListOrders,
    /// `GET /orders/{id}`
    GetOrder,
    /// `POST /orders/{id}/cancel`
    CancelOrder,
    /// `GET /products`
    ListProducts,
    /// `GET /products/{sku}`
    GetProduct,
    /// `PUT /products/{sku}`
    PutProduct,
    /// `POST /products/{sku}/stock`
    AdjustStock,
    /// `POST /webhooks/stripe`
    StripeWebhook,
    /// `GET /openapi.json`
    OpenApi,
    /// `GET /docs`
    Docs,
    /// `GET /problems/{name}`
    ProblemPage,
}

impl Route {
    /// All calls: route, method, path template, scope (none: public), and what it does.
    pub const ALL: &'static [(Self, &'static str, &'static str, Option<&'static str>, &'static str)] = &[
        (Self::CreateOrder, "POST", "/orders", Some("orders:write"), "Create an order and pay for it."),
        (Self::ListOrders, "GET", "/orders", Some("orders:read"), "List your orders, newest first."),
        (Self::GetOrder, "GET", "/orders/{id}", Some("orders:read"), "Show one of your orders."),
        (
            Self::CancelOrder,
            "POST",
            "/orders/{id}/cancel",
            Some("orders:write"),
            "Cancel a confirmed order; you get your money back.",
        ),
        (Self::ListProducts, "GET", "/products", None, "List the products by sku."),
        (Self::GetProduct, "GET", "/products/{sku}", None, "Show a product and what of it can be sold now."),
        (Self::PutProduct, "PUT", "/products/{sku}", Some("inventory:write"), "Make or change a product."),
        (Self::AdjustStock, "POST", "/products/{sku}/stock", Some("inventory:write"), "Restock, or correct the stock."),
        (
            Self::StripeWebhook,
            "POST",
            "/webhooks/stripe",
            None,
            "What the payment provider tells by itself, signed by it.",
        ),
        (Self::OpenApi, "GET", "/openapi.json", None, "This API as an OpenAPI 3.1 document."),
        (Self::Docs, "GET", "/docs", None, "This page."),
        (Self::ProblemPage, "GET", "/problems/{name}", None, "What a type of problem means."),
    ];

    /// The scope that a caller needs; none: everybody may call.
    #[must_use]
    pub fn scope(self) -> Option<&'static str> {
        Self::ALL.iter().find(|(route, ..)| *route == self).and_then(|(_, _, _, scope, _)| *scope)
    }

    /// The media type of its answer.
    #[must_use]
    pub fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Docs | Self::ProblemPage => ("text", "html"),
            _ => ("application", "json"),
        }
    }
}

/// What a method and a path lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A call and the decoded value of its path parameter (empty if it has none).
    Route(Route, String),
    /// The path exists with these methods only.
    OtherMethods(String),
    /// No such path.
    Nothing,
}

/// Finds the call. HEAD is GET without the body.
#[must_use]
pub fn find(method: &str, path: &str) -> Found {
    let wanted = if method == "HEAD" { "GET" } else { method };
    let mut allowed: Vec<&str> = Vec::new();
    for (route, method, template, ..) in Route::ALL {
        let Some(parameter) = matches(template, path) else { continue };
        if *method == wanted {
            return Found::Route(*route, parameter);
        }
        allowed.push(method);
        if *method == "GET" {
            allowed.push("HEAD");
        }
    }
    if allowed.is_empty() { Found::Nothing } else { Found::OtherMethods(allowed.join(", ")) }
}

/// The value of the template's parameter if the path fits.
fn matches(template: &str, path: &str) -> Option<String> {
    let mut parameter = String::new();
    let mut segments = path.split('/');
    for part in template.split('/') {
        let segment = segments.next()?;
        if part.starts_with('{') {
            parameter = http::percent_decode(segment, false).filter(|value| !value.is_empty())?;
        } else if part != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_should() {
        assert_eq!(find("POST", "/orders"), Found::Route(Route::CreateOrder, String::new()));
        assert_eq!(find("HEAD", "/orders/x"), Found::Route(Route::GetOrder, "x".into()));
        assert_eq!(find("PUT", "/products/a%2Db"), Found::Route(Route::PutProduct, "a-b".into()));
        assert_eq!(find("POST", "/products/a/stock"), Found::Route(Route::AdjustStock, "a".into()));
        assert_eq!(find("POST", "/orders/x/cancel"), Found::Route(Route::CancelOrder, "x".into()));
        assert_eq!(find("GET", "/orders/x/cancel"), Found::OtherMethods("POST".into()));
        assert_eq!(find("DELETE", "/orders"), Found::OtherMethods("POST, GET, HEAD".into()));
        assert_eq!(find("POST", "/products/a"), Found::OtherMethods("GET, HEAD, PUT".into()));
        for nothing in ["", "/", "/order", "/orders/", "/orders/a/b", "//orders", "/Orders", "/orders/%zz", "/orders?x"]
        {
            assert_eq!(find("GET", nothing), Found::Nothing, "{nothing}");
        }
    }
}
