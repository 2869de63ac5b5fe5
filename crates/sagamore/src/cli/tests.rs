//! Tests of the command line's rules.

use super::*;

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

fn program() -> Program {
    let run = |_: Invocation, args: ImportArgs| async move {
        drop(args.data);
        Ok::<_, anyhow::Error>(Exit::Completed)
    };
    let replay = |_: Invocation, args: ReplayArgs| async move {
        drop(args.data);
        Ok::<_, anyhow::Error>(Exit::Completed)
    };
    Program::named("trip")
        .choreography(|story| story)
        .command("import", run)
        .command("replay", replay)
}

#[test]
fn the_command_line_is_consistent() {
    command(&program()).debug_assert();
    command(&Program::named("bare")).debug_assert();
}

#[test]
fn data_conflicts_with_arguments_that_make_it_meaningless() {
    let check = |line: &str, is_error: bool| {
        let command = command(&program());
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
    let version = |program: Program| command(&program).render_version();
    assert_eq!(version(Program::named("trip").version("3.4.5")), "trip 3.4.5\n");
    assert_eq!(version(Program::named("trip")), format!("trip {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn only_a_program_with_a_second_story_can_select_it() {
    let parse = |program: &Program, line: &str| {
        matches(program, line.split(' ').map(OsString::from)).is_ok()
    };
    assert!(parse(&program(), "trip dev --choreography"));
    assert!(!parse(&Program::named("bare"), "bare dev --choreography"));
    assert!(parse(&Program::named("bare"), "bare dev"));
}
