//! The contract for readers: the OpenAPI document, the page of the API, and a page for each type of problem. Invariant: no page loads
//! anything from elsewhere; their policy forbids it.

use std::fmt::Write as _;

use crate::http::Response;
use crate::problem::Kind;
use crate::route::Route;

/// Changes only with a deployment.
const CACHE: &str = "public, max-age=300";
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const OPEN_API: &str = include_str!("../openapi.json");

pub(super) fn open_api() -> Response {
    Response::new(200, "application/json", CACHE, OPEN_API)
}

pub(super) fn docs() -> Response {
    let mut body = String::from(
        "<p>The contract in full is <a href=\"/openapi.json\">/openapi.json</a> (OpenAPI 3.1). Money is integer minor units with an ISO 4217 \
         currency; times are RFC 3339 in UTC; errors are RFC 9457 problem documents.</p>\n<h2>Calls</h2>\n<table><tr><th>Call</th><th>Scope</th>\
         <th>What it does</th></tr>\n",
    );
    for (_, method, path, scope, text) in Route::ALL {
        let scope = scope.unwrap_or("public");
        // Writing to a String cannot fail.
        let _ = writeln!(body, "<tr><td><code>{method} {path}</code></td><td>{scope}</td><td>{text}</td></tr>");
    }
    body.push_str("</table>\n<h2>Problems</h2>\n<table><tr><th>Status</th><th>Type</th><th>Title</th></tr>\n");
    for kind in Kind::ALL {
        let (status, name, title) = (kind.status(), kind.name(), kind.title());
        let _ = writeln!(
            body,
            "<tr><td>{status}</td><td><a href=\"/problems/{name}\">{name}</a></td><td>{title}</td></tr>"
        );
    }
    body.push_str("</table>\n");
    page("SwiftCart API", &body)
}

pub(super) fn problem_page(name: &str) -> Option<Response> {
    let kind = Kind::ALL.iter().find(|kind| kind.name() == name)?;
    let text = kind.text().split('`').enumerate().fold(String::new(), |mut text, (index, part)| {
        // Every other part stood between back quotes.
        let _ = if index % 2 == 1 { write!(text, "<code>{part}</code>") } else { write!(text, "{part}") };
        text
    });
    let body = format!(
        "<p>Status {}, type <code>/problems/{name}</code></p>\n<p>{text}</p>\n<p><a href=\"/docs\">All problems</a></p>\n",
        kind.status()
    );
    Some(page(kind.title(), &body))
}

/// Everything that is put in here is our own text.
fn page(title: &str, body: &str) -> Response {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         table{{border-collapse:collapse}}td,th{{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ccc}}</style></head>\n\
         <body>\n<h1>{title}</h1>\n{body}</body></html>\n"
    );
    Response::new(200, "text/html; charset=utf-8", CACHE, page)
        .with("content-security-policy", POLICY)
        .with("x-content-type-options", "nosniff")
}
