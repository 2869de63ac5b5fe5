//! Tests of the command line's rules.

use std::path::{Path, PathBuf};

use clap::Args;

use super::*;
use crate::story::Story;

/// The arguments of a verb with another `--data`.
#[derive(Args)]
struct ImportArgs {
    /// The data to import.
    #[arg(long)]
    data: PathBuf,
}

/// The arguments of a verb on the data directory.
#[derive(Args)]
struct ReplayArgs {
    /// The data directory.
    #[arg(long, env = "SAGAMORE_DATA")]
    data: Option<PathBuf>,
}

/// Returns a program with a choreography and two verbs.
fn trip() -> (Blueprint, [ProgramVerb; 2]) {
    let run = |_: Invocation, args: ImportArgs| async move {
        drop(args.data);
        Ok::<_, anyhow::Error>(Exit::Completed)
    };
    let replay = |_: Invocation, args: ReplayArgs| async move {
        drop(args.data);
        Ok::<_, anyhow::Error>(Exit::Completed)
    };
    let program = Blueprint { choreography: Some(Story::default()), ..Blueprint::named("trip") };
    (program, [ProgramVerb::of("import", run), ProgramVerb::of("replay", replay)])
}

fn bare() -> Blueprint {
    Blueprint::named("bare")
}

#[test]
fn the_command_line_is_consistent() {
    let (program, verbs) = trip();
    command(&program, &verbs).debug_assert();
    command(&bare(), &[]).debug_assert();
}

#[test]
fn data_conflicts_with_arguments_that_make_it_meaningless() {
    let check = |line: &str, is_error: bool| {
        let (program, verbs) = trip();
        let command = command(&program, &verbs);
        let matches = command.clone().try_get_matches_from(line.split(' ')).expect(line);
        assert_eq!(meaningless(&command, &matches).is_some(), is_error, "{line}");
    };
    check("trip dev --data D", false);
    check("trip dev --ephemeral", false);
    check("trip dev --data D --ephemeral", true);
    check("trip --data D --ephemeral", true);
    check("trip import --data D --config C", false);
    check("trip replay --data D", false);
    check("trip replay --data D --config C", true);
    check("trip --config C replay --data D", true);
}

#[test]
fn a_program_has_its_own_version() {
    let version =
        |version| command(&Blueprint { version, ..Blueprint::named("trip") }, &[]).render_version();
    assert_eq!(version(Some("3.4.5")), "trip 3.4.5\n");
    assert_eq!(version(None), format!("trip {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn only_a_program_with_a_second_story_can_select_it() {
    let parse = |program: &Blueprint, line: &str| {
        matches(program, &[], line.split(' ').map(OsString::from)).is_ok()
    };
    assert!(parse(&trip().0, "trip dev --choreography"));
    assert!(!parse(&bare(), "bare dev --choreography"));
    assert!(parse(&bare(), "bare dev"));
}

/// A program has its own name, so hints must use that name or the verb alone.
#[test]
fn hints_use_the_name_of_the_running_program() {
    let named = |verb: &clap::Command| format!("sagamore {}", verb.get_name());
    let verbs: Vec<String> =
        command(&Blueprint::named("trip"), &[]).get_subcommands().map(named).collect();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&crates).expect("a folder").flatten() {
        find(&entry.path().join("src"), &verbs, &mut found);
    }
    find(&crates.join("../shop/src"), &verbs, &mut found);
    assert!(
        found.is_empty(),
        "use the name of the running program (Invocation::name), or the verb alone:\n{}",
        found.join("\n")
    );
}

fn find(folder: &Path, verbs: &[String], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, verbs, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let is_help = text.contains("Args)]"); // clap prints its doc comments
            let is_printed =
                |line: &&str| !line.starts_with("//") || (is_help && line.starts_with("///"));
            let lines = text.lines().map(str::trim_start).filter(is_printed);
            let names_one = |line: &&str| verbs.iter().any(|verb| is_in(line, verb));
            found.extend(lines.filter(names_one).map(|line| format!("{}: {line}", path.display())));
        }
    }
}

/// Whether the line contains these words as whole words.
fn is_in(line: &str, words: &str) -> bool {
    line.match_indices(words).any(|(at, _)| {
        let next = line[at + words.len()..].chars().next();
        next.is_none_or(|letter| !letter.is_alphanumeric() && !"-_".contains(letter))
    })
}
