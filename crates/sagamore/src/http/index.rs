//! The front page, for whoever comes with curl, and the pages of the problems.

use axum::response::Html;

use crate::docs;

/// What there is.
pub async fn index() -> &'static str {
    "Sagamore\n\
     \n\
     GET  /saga/start/{orderId}[?wait=10]    start the saga of an order (one that was never placed gets a sample)\n\
     POST /orders                            place an order; Prefer: wait=10 waits for the outcome\n\
     GET  /orders/{id}                       an order and its saga\n\
     POST /orders/{id}/cancel                refused while the order's saga is under way\n\
     POST /orders/{id}/unlock                for an operator, when the saga at rest has left its lock\n\
     GET  /accounts, /accounts/{id}          what the customers have\n\
     GET  /stock, /stock/{sku}               what the shelves have\n\
     POST /api/v1/sagas                      start any saga: {\"definition\", \"key\", \"input\"}\n\
     GET  /api/v1/sagas                      list: ?status= &definition= &key= &limit= &cursor=\n\
     GET  /api/v1/sagas/{id}                 one saga with its steps and journal\n\
     POST /api/v1/sagas/{id}/cancel          also: retry, skip, resolve with {\"step\", \"reason\"}\n\
     GET  /livez /readyz /metrics /version\n\
     GET  /docs/errors                       every problem code: cause, check, fix\n"
}

/// Every problem code with its page.
pub async fn errors() -> Html<String> {
    Html(docs::errors_html())
}
