//! Descriptions of addresses for the front page of each process.

/// The addresses of an orchestrator.
pub const ORCHESTRATOR: &str = "\
POST /api/v1/sagas                      start any saga: {\"definition\", \"key\", \"input\"}\n\
GET  /api/v1/sagas                      list: ?status= &style= &definition= &key= &limit= &cursor= \
(or &after=ID)\n\
GET  /api/v1/sagas/{id}                 one saga with its steps and journal\n\
POST /api/v1/sagas/{id}/cancel          also: retry, skip, resolve, compensate\n\
GET  /api/v1/definitions                stored definitions: ?limit= &after=NAME@VERSION\n\
POST /api/v1/definitions                register YAML or JSON: ?dryRun=true checks it\n\
POST /api/v1/definitions/{name}/{version}/activate   also: retire; GET without a verb shows it\n\
POST /api/v1/replies                    complete a pending command by its Sagamore-Reply-Token\n\
GET  /api/v1/barriers/{service}         a service's own barrier rows, for `reconcile`\n";

/// The addresses of plans.
pub const PLANS: &str = "\
GET  /api/v1/plans                      stored plans: ?limit= &after=NAME@VERSION\n\
POST /api/v1/plans                      register YAML or JSON: ?dryRun=true checks it\n\
POST /api/v1/plans/{name}/{version}/activate   also: retire; GET without a verb shows it\n";

/// The address of events.
pub const EVENTS: &str = "\
POST /api/v1/events                     begin a chain by its first event, a CloudEvent\n\
POST /api/v1/sagas/{id}/resend          emit the first event of such a chain again\n";

/// The addresses of an observer.
pub const CHAINS: &str = "\
GET  /api/v1/sagas                      list chains: ?status= &style= &definition= &key= &limit= \
&cursor= (or &after=ID)\n\
GET  /api/v1/sagas/{id}                 one chain with steps and events; Prefer: wait=10 waits \
until it is at rest\n\
POST /api/v1/sagas/{id}/resolve         {\"reason\"}: mark a chain that does not end as repaired\n";

/// The addresses of a service that reacts to events.
pub const SERVICE: &str = "\
GET  /api/v1/barriers/{service}         the service's own barrier rows, for `reconcile`\n\
GET  /api/v1/faults/{service}/{id}      unfinished reactions to a chain's events, with their \
faults\n\
POST /api/v1/sagas/{id}/resend          emit a chain's events again, if the service emits events\n";

/// The addresses of every process.
pub const EVERYWHERE: &str = "\
GET  /livez /readyz /metrics /version\n\
GET  /openapi.json                      these addresses as an OpenAPI document\n\
GET  /docs/errors                       every problem code: cause, check, fix\n";
