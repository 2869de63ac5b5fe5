//! Schemas of a definition over HTTP and in the command line: an input that does not fit, and an
//! output that does not fit until an operator ends it.

use std::process::{Command, Output};

use sagamore::Program;
use sagamore::prelude::*;
use sagamore::server::Client;
use sagamore::server::client::Error;
use sagamore::server::problem::ProblemDocument;
use sagamore::testing::TestProgram;
use serde_json::{Value, json};

/// The input of the saga.
#[derive(Message)]
#[message(schema)]
struct Guest {
    #[message(max_length = 5)]
    name: String,
}

#[derive(Message)]
#[message(to = "greeter", yields = Greeted)]
struct Greet {
    name: String,
}

#[derive(Message)]
struct Greeted {
    text: String,
}

#[derive(Message)]
#[message(to = "greeter", undoes = Greet)]
struct Forget;

#[derive(Message)]
#[message(to = "greeter")]
struct Print {
    text: String,
}

/// A service that does not know the schema of its output.
fn service() -> Service {
    Service::named("greeter")
        .action(async |_: Tx, Greet { name }: Greet| -> Decided<Greeted, Never> {
            done(Greeted { text: format!("Hello, {name}!") })
        })
        .compensation::<Forget>(async |_: Tx, _: Greeted| -> Decided<(), Never> { done(()) })
        .action(async |_: Tx, _: Print| -> Decided<(), Never> { done(()) })
}

fn welcome() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("welcome").version(1).typed_schemas();
    let guest = saga.input::<Guest>();
    let output = json!({ "properties": { "text": { "pattern": "^Dear " } } });
    let outputs = [("greeter.greet".parse().expect("a name"), output)].into();
    saga.schemas(definition::Schemas { outputs, ..Default::default() });
    let greeted =
        saga.step("greet").sends(GreetFrom { name: guest.name }).undone_by::<Forget>().yields();
    saga.pivot("print").sends(PrintFrom { text: greeted.text });
    saga.build()
}

async fn running() -> TestProgram {
    TestProgram::start(Program::named("party").saga(welcome).service(service)).await
}

fn start(key: &str, name: Value) -> String {
    json!({ "definition": "welcome", "key": key, "input": { "name": name } }).to_string()
}

async fn problem(client: &Client, path: &str, body: String) -> ProblemDocument {
    match client.post(path, body, None).await {
        Err(Error::Problem { problem, .. }) => *problem,
        other => panic!("{other:?}"),
    }
}

/// Runs a command of the program `sagamore` against the running server.
async fn run(running: &TestProgram, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sagamore"));
    command.args(arguments).args(["--server", running.url()]).env_remove("SAGAMORE_CONFIG");
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    output.expect("no panic").expect("the command runs")
}

#[tokio::test]
async fn a_start_that_does_not_fit_is_answered_with_pointers() {
    let running = running().await;
    let client = Client::new(running.url()).unwrap();
    for (name, pointer) in [(json!("Edward"), "/input/name"), (json!(7), "/input/name")] {
        let problem = problem(&client, "/api/v1/sagas", start("1", name)).await;
        assert_eq!((problem.status, problem.code.as_str()), (422, "SAGA-0202"));
        assert_eq!(problem.errors[0].pointer, pointer, "{:?}", problem.errors);
        assert!(!problem.errors[0].detail.is_empty());
    }
    let failed = run(&running, &["start", "welcome", "1", "--input", r#"{"name":"Edward"}"#]).await;
    let error = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{error}");
    assert!(error.contains("/name: ") && error.contains("SAGA-0202"), "{error}");
    let missing = problem_of_show(&client, "welcome:1").await;
    assert_eq!(missing.status, 404, "nothing was stored");
    running.stop().await;
}

async fn problem_of_show(client: &Client, id: &str) -> ProblemDocument {
    match client.get(&format!("/api/v1/sagas/{id}")).await {
        Err(Error::Problem { problem, .. }) => *problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_output_that_does_not_fit_is_ended_by_resolve_or_compensate() {
    let running = running().await;
    let client = Client::new(running.url()).unwrap();
    for key in ["1", "2"] {
        let answer =
            client.post("/api/v1/sagas", start(key, json!("Ada")), Some(10)).await.unwrap();
        let standing: Value = client.read(&answer).unwrap();
        assert_eq!(standing["status"], "stuck");
    }
    let shown: Value = client.read(&client.get("/api/v1/sagas/welcome:1").await.unwrap()).unwrap();
    let fault = shown["steps"][0]["fault"].to_string();
    assert!(fault.contains("'greet'") && fault.contains("/text"), "{shown}");
    assert_eq!(
        shown["steps"][0]["allowedActions"],
        json!(["retry", "skip", "resolve", "compensate"])
    );

    let resolve = |output: Value| {
        let body = json!({ "step": "greet", "reason": "ann", "output": output });
        problem(&client, "/api/v1/sagas/welcome:1/resolve", body.to_string())
    };
    let wrong = resolve(json!({ "text": "Hello" })).await;
    assert_eq!((wrong.status, wrong.code.as_str()), (422, "SAGA-0216"));
    assert_eq!(wrong.errors[0].pointer, "/output/text");
    let arguments = ["resolve", "welcome:1", "--reason", "ann", "--yes", "--step-output"];
    let wrong = run(&running, &[&arguments[..], &["{}"]].concat()).await;
    let error = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(error.contains("/text: is missing"), "{error}");
    let resolved = run(&running, &[&arguments[..], &[r#"{"text":"Dear Ada"}"#]].concat()).await;
    assert!(resolved.status.success(), "{}", String::from_utf8_lossy(&resolved.stderr));
    let ended = run(&running, &["watch", "welcome:1"]).await;
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stdout));

    let arguments = ["compensate", "welcome:2", "--reason", "ann", "--yes"];
    let given_up = run(&running, &arguments).await;
    assert!(given_up.status.success(), "{}", String::from_utf8_lossy(&given_up.stderr));
    let ended = run(&running, &["watch", "welcome:2"]).await;
    assert_eq!(ended.status.code(), Some(3), "{}", String::from_utf8_lossy(&ended.stdout));
    running.stop().await;
}
