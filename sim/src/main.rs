//! `sagamore-sim`: runs seeds, and says how to run a failing one again.
fn main() {
    let seeds: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in 0..seeds {
        let report = sagamore_sim::run(seed, seeds == 1);
        println!("{seed} {:?} {:?} {:?}", report.trace, report.sagas, report.violation);
    }
}
