//! The forms of the shop compared, address by address: what is in one is in the others, and takes the same.

use std::collections::{BTreeMap, BTreeSet};

use sagamore::server::http::routes::{Address, Contract};

use super::{choreography, orchestrated_routes, service};

type Place = (&'static str, &'static str);
type Form = BTreeMap<Place, Contract>;

fn form<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> Form {
    addresses
        .into_iter()
        .map(|address| ((address.method, address.path), address.contract))
        .collect()
}

fn one_process() -> Form {
    form(orchestrated_routes().addresses())
}

fn choreographed() -> Form {
    form(choreography::routes().addresses())
}

fn services() -> Vec<Form> {
    service::addresses().iter().map(form).collect()
}

fn places(forms: &[Form]) -> BTreeSet<Place> {
    forms.iter().flat_map(|form| form.keys().copied()).collect()
}

#[test]
fn both_styles_in_one_process_have_the_same_addresses() {
    assert_eq!(places(&[one_process()]), places(&[choreographed()]));
}

#[test]
fn processes_together_have_what_one_process_has() {
    let together = places(&services());
    assert_eq!(
        places(&[one_process()]).difference(&together).collect::<Vec<_>>(),
        Vec::<&Place>::new()
    );
}

#[test]
fn an_address_takes_the_same_in_every_form() {
    let mut forms = vec![one_process(), choreographed()];
    forms.extend(services());
    for place in places(&forms) {
        let taken =
            forms.iter().filter_map(|form| form.get(&place)).map(|takes| format!("{takes:?}"));
        assert_eq!(taken.collect::<BTreeSet<_>>().len(), 1, "{place:?}");
    }
}
