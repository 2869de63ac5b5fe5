//! The lines of the front pages, for clients with curl.

/// The lines of an orchestrator.
pub const ORCHESTRATOR: &str = "\
POST /api/v1/sagas                      start any saga: {\"definition\", \"key\", \"input\"}\n\
GET  /api/v1/sagas                      list: ?status= &style= &definition= &key= &limit= &cursor= (or &after=ID)\n\
GET  /api/v1/sagas/{id}                 one saga with its steps and journal\n\
POST /api/v1/sagas/{id}/cancel          also: retry, skip, resolve with {\"step\", \"reason\"}\n\
GET  /api/v1/barriers/{service}         what a service itself knows of sagas, for the verb `reconcile`\n";

/// The lines of an observer.
pub const CHAINS: &str = "\
GET  /api/v1/sagas                      list the chains: ?status= &style= &definition= &key= &limit= &cursor= (or &after=ID)\n\
GET  /api/v1/sagas/{id}                 one chain with steps and events; Prefer: wait=10 waits until it is at rest\n\
POST /api/v1/sagas/{id}/resolve         {\"reason\"}: a person has taken care of a chain that does not end\n";

/// The lines of a service that reacts to events.
pub const KNOWN: &str = "\
GET  /api/v1/barriers/{service}         what the service itself knows of sagas, for the verb `reconcile`\n\
GET  /api/v1/faults/{service}/{id}      what it could not do about a chain so far, and why\n\
POST /api/v1/sagas/{id}/resend          tell the events of a chain again, where there are such\n";

/// The lines of every process.
pub const EVERYWHERE: &str = "\
GET  /livez /readyz /metrics /version\n\
GET  /openapi.json                      these addresses as an OpenAPI document\n\
GET  /docs/errors                       every problem code: cause, check, fix\n";
