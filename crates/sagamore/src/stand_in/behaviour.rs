//! The flags that make a stand-in refuse, delay or fail a step.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use sagamore_core::id::Name;
use sagamore_inspect::times::duration;

/// The code of a refusal without a stated code.
const REFUSED: &str = "refused";

/// The flags of `dev` for stand-ins.
#[derive(Clone, Debug, Default, Args)]
pub struct BehaviourArgs {
    /// Let the stand-in refuse this step, with a code [default: refused]
    #[arg(long, value_name = "STEP[=CODE]", value_parser = refusal)]
    pub refuse: Vec<(Name, String)>,
    /// Let the stand-in answer this step late, for example reserve-seat=2s
    #[arg(long, value_name = "STEP=TIME", value_parser = delay)]
    pub slow: Vec<(Name, Duration)>,
    /// Let the first N attempts of this step fail, for example reserve-seat=3
    #[arg(long, value_name = "STEP=N", value_parser = faults)]
    pub fail: Vec<(Name, u32)>,
}

/// The behaviour at each step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behaviour(BTreeMap<Name, StepBehaviour>);

/// The behaviour at one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepBehaviour {
    /// The code of the refusal.
    pub refuses: Option<String>,
    /// The delay of each answer.
    pub delay: Duration,
    /// The number of first attempts with a fault.
    pub faults: u32,
}

impl Behaviour {
    /// Collects the flags. The last flag of a kind wins.
    pub fn of(args: BehaviourArgs) -> Behaviour {
        let mut steps: BTreeMap<Name, StepBehaviour> = BTreeMap::new();
        for (step, code) in args.refuse {
            steps.entry(step).or_default().refuses = Some(code);
        }
        for (step, delay) in args.slow {
            steps.entry(step).or_default().delay = delay;
        }
        for (step, faults) in args.fail {
            steps.entry(step).or_default().faults = faults;
        }
        Behaviour(steps)
    }

    /// Returns the behaviour at a step.
    pub fn at(&self, step: &Name) -> StepBehaviour {
        self.0.get(step).cloned().unwrap_or_default()
    }

    /// Returns the longest delay of an answer.
    pub fn delay_max(&self) -> Duration {
        self.0.values().map(|behaviour| behaviour.delay).max().unwrap_or_default()
    }

    /// Returns the steps with a flag.
    pub fn steps(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }
}

fn refusal(text: &str) -> Result<(Name, String), String> {
    let (step, code) = text.split_once('=').unwrap_or((text, REFUSED));
    if code.is_empty() {
        return Err("the code is empty: write STEP=CODE, or STEP alone".to_owned());
    }
    Ok((name(step)?, code.to_owned()))
}

fn delay(text: &str) -> Result<(Name, Duration), String> {
    let (step, time) = text.split_once('=').ok_or("write STEP=TIME, such as reserve-seat=2s")?;
    Ok((name(step)?, duration(time)?))
}

fn faults(text: &str) -> Result<(Name, u32), String> {
    let usage = "write STEP=N, such as reserve-seat=3";
    let (step, count) = text.split_once('=').ok_or(usage)?;
    Ok((name(step)?, count.parse().map_err(|_| usage)?))
}

fn name(step: &str) -> Result<Name, String> {
    Name::new(step).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_a_step() {
        let step = || Name::new("reserve-seat").unwrap();
        assert_eq!(refusal("reserve-seat"), Ok((step(), "refused".to_owned())));
        assert_eq!(refusal("reserve-seat=full"), Ok((step(), "full".to_owned())));
        assert_eq!(delay("reserve-seat=2s"), Ok((step(), Duration::from_secs(2))));
        assert_eq!(faults("reserve-seat=3"), Ok((step(), 3)));
        for text in ["", "=full", "reserve-seat=", "Reserve"] {
            assert!(refusal(text).is_err(), "{text}");
        }
        for text in ["reserve-seat", "reserve-seat=soon"] {
            assert!(delay(text).is_err(), "{text}");
        }
        for text in ["reserve-seat", "reserve-seat=-1", "reserve-seat=x"] {
            assert!(faults(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_of_one_step_are_collected() {
        let step = Name::new("pay").unwrap();
        let args = BehaviourArgs {
            refuse: vec![(step.clone(), "no".into())],
            slow: vec![(step.clone(), Duration::from_secs(2))],
            fail: vec![(step.clone(), 3)],
        };
        let expected =
            StepBehaviour { refuses: Some("no".into()), delay: Duration::from_secs(2), faults: 3 };
        assert_eq!(Behaviour::of(args).at(&step), expected);
    }
}
