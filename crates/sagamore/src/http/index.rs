//! The front pages, for whoever comes with curl, and the pages of the problems.

use axum::response::Html;

use sagamore_shop::{inventory, order, payment};

use crate::docs;

/// What an orchestrator has.
pub async fn index() -> &'static str {
    "Sagamore\n\
     \n\
     GET  /saga/start/{orderId}[?wait=10]    start the saga of an order (in `dev` one that was never placed gets a sample)\n\
     POST /orders                            place an order; Prefer: wait=10 waits for the outcome\n\
     GET  /orders/{id}                       an order and its saga\n\
     POST /orders/{id}/cancel                refused while the order's saga is under way\n\
     POST /orders/{id}/unlock                for an operator, when the saga at rest has left its lock; ?force=true when nobody knows it\n\
     GET  /accounts, /accounts/{id}          what the customers have\n\
     GET  /stock, /stock/{sku}               what the shelves have\n\
     POST /api/v1/sagas                      start any saga: {\"definition\", \"key\", \"input\"}\n\
     GET  /api/v1/sagas                      list: ?status= &style= &definition= &key= &limit= &cursor= (or &after=ID)\n\
     GET  /api/v1/sagas/{id}                 one saga with its steps and journal\n\
     POST /api/v1/sagas/{id}/cancel          also: retry, skip, resolve with {\"step\", \"reason\"}\n\
     GET  /api/v1/barriers/{service}         what a service itself knows of sagas, for `sagamore reconcile`\n\
     GET  /livez /readyz /metrics /version\n\
     GET  /openapi.json                      these addresses as an OpenAPI document\n\
     GET  /docs/errors                       every problem code: cause, check, fix\n"
}

/// What one of the shop's services has at its own address.
pub fn of_service(service: &str) -> String {
    let own = match service {
        order::SERVICE => {
            "GET  /orders, /orders/{id}              what was ordered\n\
             POST /orders                            place an order, where no orchestrator takes them; Prefer: wait=10 asks the observer\n\
             GET  /saga/start/{orderId}[?wait=10]    there: what became of an order\n\
             POST /orders/{id}/cancel                refused while the order's saga is under way\n\
             POST /orders/{id}/unlock                for an operator, when the saga at rest has left its lock; ?force=true when nobody knows it\n"
        }
        payment::SERVICE => {
            "GET  /accounts, /accounts/{id}          what the customers have\n\
             POST /accounts                          load accounts, a line of JSON each\n"
        }
        inventory::SERVICE => {
            "GET  /stock, /stock/{sku}               what the shelves have\n\
             POST /stock                             load stock, a line of JSON each\n"
        }
        _ => {
            "GET  /destinations                      where is shipped to\n\
             POST /destinations                      load destinations, a line of JSON each\n\
             GET  /shipments, /shipments/{id}        what was shipped\n"
        }
    };
    format!("Sagamore's service {service}\n\n{own}{KNOWN}{EVERYWHERE}")
}

/// What an observer has.
pub async fn of_observer() -> String {
    format!("Sagamore's observer\n\n{CHAINS}{EVERYWHERE}")
}

/// What there is where everything is in one process, and no orchestrator.
pub async fn of_choreography() -> String {
    let own = "GET  /saga/start/{orderId}[?wait=10]    begin the chain of an order (one that was never placed gets a sample)\n\
               POST /orders                            place an order; Prefer: wait=10 waits for the outcome\n\
               GET  /orders/{id}                       an order\n\
               POST /orders/{id}/cancel                refused while the order's chain is under way\n\
               POST /orders/{id}/unlock                for an operator, when the chain that is over has left its lock\n\
               GET  /accounts, /accounts/{id}          what the customers have\n\
               GET  /stock, /stock/{sku}               what the shelves have\n";
    format!("Sagamore, without an orchestrator\n\n{own}{CHAINS}{KNOWN}{EVERYWHERE}")
}

const CHAINS: &str = "\
GET  /api/v1/sagas                      list the chains: ?status= &style= &definition= &key= &limit= &cursor= (or &after=ID)\n\
GET  /api/v1/sagas/{id}                 one chain with steps and events; Prefer: wait=10 waits until it is at rest\n\
POST /api/v1/sagas/{id}/resolve         {\"reason\"}: a person has taken care of a chain that does not end\n";

const KNOWN: &str = "\
GET  /api/v1/barriers/{service}         what the service itself knows of sagas, for `sagamore reconcile`\n\
GET  /api/v1/faults/{service}/{id}      what it could not do about a chain so far, and why\n\
POST /api/v1/sagas/{id}/resend          tell the events of a chain again, where there are such\n";

const EVERYWHERE: &str = "\
GET  /livez /readyz /metrics /version\n\
GET  /openapi.json                      these addresses as an OpenAPI document\n\
GET  /docs/errors                       every problem code: cause, check, fix\n";

/// Every problem code with its page.
pub async fn errors() -> Html<String> {
    Html(docs::errors_html())
}
