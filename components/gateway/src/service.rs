//! From a request to a response: route, who, scope, form, then the call. One function per route, in `orders`, `products`,
//! `webhooks` and `docs`.
//!
//! Invariant: what is wrong with the route or the caller is said before anything of the body is read.

mod docs;
mod orders;
mod products;
mod webhooks;

use swiftcart_domain::ids;

use crate::error::CatalogError;
use crate::http::{self, Request, Response};
use crate::json::Refused;
use crate::model::Caller;
use crate::ports::{Catalog, Orders, Webhooks};
use crate::problem::{Kind, Problem};
use crate::route::{self, Found, Route};

/// When to try again after a 503, in seconds.
const RETRY_UNAVAILABLE_SECONDS: u32 = 2;
/// When to look again after a 202, in seconds: about when the sweep comes.
const RETRY_PENDING_SECONDS: u32 = 5;
/// Page size unless told otherwise.
const LIMIT_DEFAULT: u32 = 20;
/// Largest page size.
const LIMIT_MAX: u32 = 100;

/// The API over the services below.
pub struct Gateway<'a> {
    /// Orders.
    pub orders: &'a dyn Orders,
    /// Products.
    pub catalog: &'a dyn Catalog,
    /// What the payment provider tells by itself.
    pub webhooks: &'a dyn Webhooks,
}

/// A request that is refused before or instead of a call.
type Answer = Result<Response, Problem>;

impl Gateway<'_> {
    /// Answers a request.
    #[must_use]
    pub fn handle(&self, request: &Request) -> Response {
        let mut response = self.answer(request).unwrap_or_else(Problem::response);
        if request.method == "HEAD" {
            response.body.clear();
        }
        response
    }

    fn answer(&self, request: &Request) -> Answer {
        let trace = request.trace_id();
        let (route, parameter) = match route::find(&request.method, &request.path) {
            Found::Route(route, parameter) => (route, parameter),
            Found::OtherMethods(allow) => {
                return Err(Problem::new(Kind::MethodNotAllowed, trace, format!("Allowed here: {allow}."))
                    .header("allow", allow));
            }
            Found::Nothing => return Err(Problem::new(Kind::NotFound, trace, "There is no such path.")),
        };
        let caller = authorize(request, route)?;
        let (kind, subtype) = route.media_type();
        if !request.accepts(kind, subtype) {
            return Err(Problem::new(Kind::NotAcceptable, trace, format!("The answer is {kind}/{subtype}.")));
        }
        let query = Query::parse(request)?;
        match route {
            Route::CreateOrder => self.create_order(request, &caller),
            Route::ListOrders => self.list_orders(request, &caller, &query),
            Route::GetOrder => self.get_order(request, &caller, &parameter),
            Route::CancelOrder => self.cancel_order(request, &caller, &parameter),
            Route::ListProducts => self.list_products(request, &query),
            Route::GetProduct => self.get_product(request, &parameter),
            Route::PutProduct => self.put_product(request, &parameter),
            Route::AdjustStock => self.adjust_stock(request, &caller, &parameter),
            Route::StripeWebhook => self.stripe_webhook(request),
            Route::OpenApi => Ok(docs::open_api()),
            Route::Docs => Ok(docs::docs()),
            Route::ProblemPage => {
                docs::problem_page(&parameter).ok_or_else(|| not_found(trace, "There is no such type of problem."))
            }
        }
    }
}

/// Who calls, if the scope allows it. On public routes nobody is asked.
fn authorize(request: &Request, route: Route) -> Result<Caller, Problem> {
    let Some(scope) = route.scope() else { return Ok(Caller { user_id: String::new(), email: None }) };
    let trace = request.trace_id();
    let (Some(issuer), Some(subject)) = (request.header("x-token-issuer"), request.header("x-token-subject")) else {
        return Err(Problem::new(Kind::Unauthorized, trace, "This call needs an access token.")
            .header("www-authenticate", "Bearer"));
    };
    if !request.header("x-token-scope").unwrap_or_default().split(' ').any(|granted| granted == scope) {
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        return Err(Problem::new(Kind::Forbidden, trace, format!("This call needs the scope {scope}."))
            .header("www-authenticate", challenge));
    }
    let email = request.header("x-token-email").filter(|email| !email.is_empty()).map(str::to_owned);
    Ok(Caller { user_id: ids::user_id(issuer, subject).to_string(), email })
}

fn invalid(request: &Request, detail: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidRequest, request.trace_id(), detail)
}

fn refused(request: &Request) -> impl Fn(Refused) -> Problem {
    move |Refused(detail)| invalid(request, detail)
}

fn not_found(trace: &str, detail: &str) -> Problem {
    Problem::new(Kind::NotFound, trace, detail)
}

fn unavailable(trace: &str) -> Problem {
    Problem::new(Kind::Unavailable, trace, "Try the same request again.").retry_after(RETRY_UNAVAILABLE_SECONDS)
}

fn internal(trace: &str) -> Problem {
    Problem::new(Kind::Internal, trace, "This is logged under the trace id.")
}

fn bad_cursor(trace: &str) -> Problem {
    Problem::new(Kind::InvalidRequest, trace, "query parameter cursor: is not a cursor that was given out")
}

fn catalog_problem(error: CatalogError, trace: &str) -> Problem {
    match error {
        CatalogError::NotFound => not_found(trace, "There is no such product."),
        CatalogError::BadCursor => bad_cursor(trace),
        CatalogError::StockBelowZero(available) => {
            Problem::new(Kind::StockBelowZero, trace, format!("Only {available} can be taken away."))
                .member("available", available)
        }
        CatalogError::KeyReused => key_reused(trace),
        CatalogError::Unavailable => unavailable(trace),
        CatalogError::Internal => internal(trace),
    }
}

fn key_reused(trace: &str) -> Problem {
    Problem::new(Kind::IdempotencyKeyReused, trace, "This key belongs to another request. Use a new one.")
}

/// Checks that the body is said to be JSON.
fn require_json(request: &Request) -> Result<(), Problem> {
    if request.is_json() {
        Ok(())
    } else {
        let detail = "The body must be application/json in UTF-8, without a content coding.";
        Err(Problem::new(Kind::UnsupportedMediaType, request.trace_id(), detail).header("accept", "application/json"))
    }
}

/// The idempotency key: at most one header, 1 to 255 visible ASCII characters.
fn idempotency_key(request: &Request) -> Result<Option<&str>, Problem> {
    let mut keys = request.all("idempotency-key");
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(invalid(request, "header Idempotency-Key: occurs more than once"));
    }
    let fits = (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(key)
        .ok()
        .filter(|_| fits)
        .map(Some)
        .ok_or_else(|| invalid(request, "header Idempotency-Key: must be 1 to 255 visible ASCII characters"))
}

/// Query parameters, none twice.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(request: &Request) -> Result<Self, Problem> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in request.query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = http::percent_decode(name, true).zip(http::percent_decode(value, true));
            let (name, value) = decoded.ok_or_else(|| invalid(request, "the query: has a broken percent escape"))?;
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(invalid(request, "the query: has a parameter that occurs more than once"));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn limit(&self, request: &Request) -> Result<u32, Problem> {
        let Some(text) = self.get("limit") else { return Ok(LIMIT_DEFAULT) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|limit| digits && (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| invalid(request, format!("query parameter limit: must be an integer from 1 to {LIMIT_MAX}")))
    }
}
