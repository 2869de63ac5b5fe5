//! Checks that every form of the shop, in one process or in several, has the same routes with the
//! same parameters.

use std::collections::{BTreeMap, BTreeSet};

use sagamore::server::http::routes::{Address, Contract};

use super::{choreography, orchestrated_routes, service};

type RouteKey = (&'static str, &'static str);
type RouteMap = BTreeMap<RouteKey, Contract>;

fn form<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> RouteMap {
    addresses
        .into_iter()
        .map(|address| ((address.method, address.path), address.contract))
        .collect()
}

fn one_process() -> RouteMap {
    form(orchestrated_routes().addresses())
}

fn choreographed() -> RouteMap {
    form(choreography::routes().addresses())
}

fn services() -> Vec<RouteMap> {
    service::addresses().iter().map(form).collect()
}

fn route_keys(forms: &[RouteMap]) -> BTreeSet<RouteKey> {
    forms.iter().flat_map(|form| form.keys().copied()).collect()
}

#[test]
fn both_styles_in_one_process_have_the_same_routes() {
    assert_eq!(route_keys(&[one_process()]), route_keys(&[choreographed()]));
}

#[test]
fn separate_processes_have_all_routes_of_one_process() {
    let together = route_keys(&services());
    assert_eq!(
        route_keys(&[one_process()]).difference(&together).collect::<Vec<_>>(),
        Vec::<&RouteKey>::new()
    );
}

#[test]
fn a_route_has_the_same_parameters_in_every_form() {
    let mut forms = vec![one_process(), choreographed()];
    forms.extend(services());
    for route_key in route_keys(&forms) {
        let taken =
            forms.iter().filter_map(|form| form.get(&route_key)).map(|takes| format!("{takes:?}"));
        assert_eq!(taken.collect::<BTreeSet<_>>().len(), 1, "{route_key:?}");
    }
}
