//! The forms of the shop compared, address by address: what is in one is in the others, and takes the same.

use std::collections::{BTreeMap, BTreeSet};

use sagamore_shop::{inventory, order, payment, shipping};

use super::routes::{Address, Takes};
use super::{chains, choreography, orchestrated, service};

type Place = (&'static str, &'static str);
type Form = BTreeMap<Place, Takes>;

/// What only a choreography has: an orchestrator sends again by itself, and shows faults with the steps.
const CHOREOGRAPHED_ONLY: [Place; 2] =
    [("POST", "/api/v1/sagas/{id}/resend"), ("GET", "/api/v1/faults/{service}/{id}")];
/// What takes something else in a choreography: there a person decides about a chain, and not about a step.
const DIFFERENT: [Place; 1] = [("POST", "/api/v1/sagas/{id}/resolve")];

fn form<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> Form {
    addresses.into_iter().map(|address| ((address.method, address.path), address.takes)).collect()
}

fn one_process() -> Form {
    form(orchestrated().addresses())
}

fn choreographed() -> Form {
    form(choreography::routes().addresses())
}

fn services() -> Vec<Form> {
    let names = [order::SERVICE, payment::SERVICE, inventory::SERVICE, shipping::SERVICE];
    names.map(|name| form(service::routes(name, None).addresses())).into()
}

fn observer() -> Form {
    form(chains::routes().addresses())
}

fn places(forms: &[Form]) -> BTreeSet<Place> {
    forms.iter().flat_map(|form| form.keys().copied()).collect()
}

#[test]
fn both_styles_in_one_process_have_the_same_addresses() {
    let (one, other) = (places(&[one_process()]), places(&[choreographed()]));
    assert_eq!(one.difference(&other).collect::<Vec<_>>(), Vec::<&Place>::new());
    let more: BTreeSet<Place> = other.difference(&one).copied().collect();
    assert_eq!(more, BTreeSet::from(CHOREOGRAPHED_ONLY));
}

#[test]
fn processes_together_have_what_one_process_has() {
    let mut serve = services();
    serve.push(one_process()); // an orchestrator has the same router
    let mut observed = services();
    observed.push(observer());
    for (together, alone) in [(serve, one_process()), (observed, choreographed())] {
        let (together, alone) = (places(&together), places(&[alone]));
        assert_eq!(alone.difference(&together).collect::<Vec<_>>(), Vec::<&Place>::new());
    }
}

#[test]
fn an_address_takes_the_same_in_every_form() {
    let mut forms = vec![one_process(), choreographed(), observer()];
    forms.extend(services());
    let mut differing = BTreeSet::new();
    for place in places(&forms) {
        let mut taken = forms.iter().filter_map(|form| form.get(&place)).map(|takes| format!("{takes:?}"));
        let first = taken.next();
        if taken.any(|other| Some(other) != first) {
            differing.insert(place);
        }
    }
    assert_eq!(differing, BTreeSet::from(DIFFERENT));
}
