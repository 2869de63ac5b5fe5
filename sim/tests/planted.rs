//! Every planted bug is found within 200 seeds, in which nothing is found without it.

use sagamore_core::planted::Bug;
use sagamore_sim::sweep::{Options, Sweep, command, seeds};
use sagamore_sim::{Style, plant, run};

const SEEDS: u64 = 200;
const BASE: u64 = 0x5a6a;

fn found_after(bug: Bug) -> Option<(u64, u64, &'static str)> {
    plant(Some(bug));
    let found = (1..).zip(seeds(BASE, SEEDS)).find_map(|(count, seed)| {
        let violation = run(seed, false).violation?;
        Some((count, seed, violation.name))
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found_within_200_seeds() {
    let found: Vec<_> = std::thread::scope(|scope| {
        let halves = Bug::ALL.chunks(Bug::ALL.len().div_ceil(2));
        let searches = halves
            .map(|bugs| scope.spawn(move || bugs.iter().map(|bug| (*bug, found_after(*bug))).collect::<Vec<_>>()));
        let searches: Vec<_> = searches.collect();
        searches.into_iter().flat_map(|search| search.join().expect("a search does not panic")).collect()
    });
    for (bug, found) in &found {
        match found {
            Some((count, seed, name)) => {
                println!(
                    "{:<32} after {count:>3}: {name}; {}",
                    bug.name(),
                    command(*seed, Style::of(*seed), Some(*bug))
                );
            }
            None => println!("{:<32} NOT FOUND", bug.name()),
        }
    }
    assert!(found.iter().all(|(_, found)| found.is_some()), "a planted bug was not found");
}

#[test]
fn the_same_seeds_find_nothing_where_nothing_is_planted() {
    let sweep = Sweep::run(&seeds(BASE, SEEDS), Options::default(), &|_| {});
    assert!(sweep.failed.is_empty(), "{:?}", sweep.failed);
}
