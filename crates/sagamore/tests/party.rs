//! A program with a toy saga: built, started in this process, and driven over HTTP and by its
//! handle.

use std::time::Duration;

use sagamore::core::announcement::{Announcement, HandledMessage, MessageKind};
use sagamore::engine::Start;
use sagamore::prelude::*;
use sagamore::server::Client;
use sagamore::server::http::routes::{READS, Routes};
use sagamore::testing::TestProgram;
use sagamore::transport::wire::encode_announcement;
use sagamore::{Exit, Program, StartOptions};

/// The input of the saga.
#[derive(Message)]
struct Guest {
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

async fn greet(_: Tx, Greet { name }: Greet) -> Decided<Greeted, Never> {
    done(Greeted { text: format!("Hello, {name}!") })
}

fn service() -> Service {
    Service::named("greeter").action(greet)
}

fn welcome() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("welcome").version(1);
    let guest = saga.input::<Guest>();
    saga.pivot("greet").sends(GreetFrom { name: guest.name });
    saga.build()
}

fn program() -> Program {
    Program::named("party")
        .saga(welcome)
        .service_with_routes(service, |host| {
            let name = host.name.to_string();
            Routes::new().get("/greeter", READS, move || async move { name })
        })
        .routes(|server| {
            let runs = server.handle.is_some().to_string();
            Routes::new().get("/party", READS, move || async move { runs })
        })
        .sample_input("welcome", |key| Body::of(&Guest { name: key.to_owned() }).expect("JSON"))
}

#[tokio::test]
async fn a_program_runs_its_saga_in_this_process() {
    let running = TestProgram::start(program()).await;
    let client = Client::new(running.url()).unwrap();
    let input = Body::of(&Guest { name: "Bob".to_owned() }).unwrap();
    let start = Start::new("welcome".parse().unwrap(), "bob", input);
    let (_, rest) =
        running.handle().unwrap().start_and_wait(start, Duration::from_secs(10)).await.unwrap();
    assert!(rest.is_some());
    let shown: serde_json::Value =
        client.read(&client.get("/api/v1/sagas/bob").await.unwrap()).unwrap();
    assert_eq!(shown["id"], "welcome:bob", "a key without a definition refers to the first saga");
    let body = r#"{"definition":"welcome","key":"ada"}"#;
    let answer = client.post("/api/v1/sagas", body, Some(10)).await.unwrap();
    let standing: serde_json::Value = client.read(&answer).unwrap();
    assert_eq!(
        (&standing["id"], &standing["status"]),
        (&"welcome:ada".into(), &"completed".into())
    );
    assert_eq!(client.get("/greeter").await.unwrap(), "greeter");
    assert_eq!(client.get("/party").await.unwrap(), "true");
    running.stop().await;
}

/// Announces that a process of the participant `host` handles `host.seat`, this long ago.
async fn announce(running: &TestProgram, ago: Duration) {
    let transport = running.service("greeter").expect("it runs here").transport.clone();
    let message = Name::new("host.seat").expect("a name");
    let announcement = Announcement {
        participant: Name::new("host").expect("a name"),
        process: "71-a0".to_owned(),
        at: running.handle().expect("an orchestrator").now().minus(ago),
        messages: vec![HandledMessage { name: message, kind: MessageKind::Action, schema: None }],
        stopping: false,
    };
    transport.publish(vec![encode_announcement(&announcement)]).await.expect("published");
}

/// Polls until the warnings of a response satisfy the condition. A process is announced, and its
/// announcement read, without a reply that a test could await.
async fn warnings_when(
    read: impl AsyncFn() -> serde_json::Value,
    is_expected: impl Fn(&[&str]) -> bool,
) -> Vec<String> {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let view = read().await;
        let warnings = view["warnings"].as_array().cloned().unwrap_or_default();
        let texts: Vec<&str> = warnings.iter().filter_map(|text| text.as_str()).collect();
        if is_expected(&texts) {
            return texts.into_iter().map(str::to_owned).collect();
        }
        assert!(std::time::Instant::now() < until, "{texts:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn apply_and_show_warn_until_a_live_process_handles_the_message() {
    let running = TestProgram::start(program()).await;
    let client = Client::new(running.url()).unwrap();
    let definition = |participant: &str, message: &str| {
        format!(
            r#"{{"name":"seating","version":1,"input":[],"steps":[{{"name":"seat","kind":"pivot",
            "action":{{"participant":"{participant}","message":"{message}"}}}}]}}"#
        )
    };
    let applied = async |participant: &str, message: &str, dry_run: bool| {
        let path = format!("/api/v1/definitions?dryRun={dry_run}");
        let answer = client.post(&path, definition(participant, message), None).await.unwrap();
        client.read::<serde_json::Value>(&answer).unwrap()
    };
    // the service of this process announces itself as any other one does
    let of_greeter = async |message| applied("greeter", message, true).await;
    warnings_when(
        async || of_greeter("greeter").await,
        |texts| texts == ["greeter (greeter): no process handles it"],
    )
    .await;
    assert_eq!(of_greeter("greeter.greet").await["warnings"], serde_json::json!([]));

    let dry_run = applied("host", "host.seat", true).await;
    let never = serde_json::json!(["host: no process has announced itself"]);
    assert_eq!((&dry_run["dryRun"], &dry_run["warnings"]), (&true.into(), &never));
    assert_eq!(applied("host", "host.seat", false).await["warnings"], never);
    let body = r#"{"definition":"seating","key":"1","input":{}}"#;
    client.post("/api/v1/sagas", body, None).await.unwrap();
    let show = async || {
        let answer = client.get("/api/v1/sagas/seating:1").await.unwrap();
        client.read::<serde_json::Value>(&answer).unwrap()
    };
    assert_eq!(
        warnings_when(show, |texts| !texts.is_empty()).await,
        ["host: no process has announced itself"]
    );
    announce(&running, Duration::from_secs(91)).await;
    let gone =
        warnings_when(show, |texts| texts != ["host: no process has announced itself"]).await;
    assert!(gone.len() == 1 && gone[0].starts_with("host.seat: no process since "), "{gone:?}");
    announce(&running, Duration::ZERO).await;
    warnings_when(show, |texts| texts.is_empty()).await;
    assert_eq!(applied("host", "host.seat", true).await["warnings"], serde_json::json!([]));
    running.stop().await;
}

#[test]
fn the_data_of_a_test_is_removed_at_its_end_and_after_a_panic() {
    let run = |panics: bool| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let test = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let running = TestProgram::start(program()).await;
                sender.send(running.data().to_owned()).unwrap();
                assert!(running.data().join("log").exists() && !panics, "as planned");
                running.stop().await;
            });
        });
        assert_eq!(test.join().is_err(), panics);
        receiver.recv().unwrap()
    };
    assert!(!run(false).exists());
    assert!(!run(true).exists());
}

#[tokio::test]
async fn a_public_address_is_rejected_before_the_data_directory_is_created() {
    let data = tempfile::tempdir().unwrap();
    let options = StartOptions {
        listen: Some("0.0.0.0:0".into()),
        ..StartOptions::of(data.path().join("new"))
    };
    let Err(error) = program().start(options).await else { panic!("the address was accepted") };
    assert!(error.to_string().contains("no authentication"), "{error}");
    assert!(!data.path().join("new").exists());
}

#[tokio::test]
async fn errors_of_the_builder_are_reported_together() {
    let empty = || Definition::named("empty").version(1).build();
    let program = Program::named("party").saga(empty).service(service).service(service);
    let program = program.service(|| Service::named("kafka"));
    let Err(error) = program.start(StartOptions::of("unused")).await else {
        panic!("the program has started")
    };
    let text = error.to_string();
    assert!(
        text.contains("saga: ")
            && text.contains("'greeter' is added twice")
            && text.contains("'kafka'"),
        "{text}"
    );
}

#[tokio::test]
async fn a_program_runs_on_the_caller_s_runtime_until_its_stop() {
    let arguments = ["party", "dev", "--ephemeral", "--listen", "127.0.0.1:0"].map(str::to_owned);
    let stop = tokio::time::sleep(Duration::from_millis(200));
    assert_eq!(program().run_async(arguments, stop).await.unwrap(), Exit::Completed);
    let wrong = ["party", "dance"].map(str::to_owned);
    assert!(program().run_async(wrong, std::future::pending()).await.is_err());
}

/// A program can run in a task of its own.
#[test]
fn the_futures_of_a_program_are_send() {
    fn is_send(future: impl Send) {
        drop(future);
    }
    is_send(program().run_async(["party".to_owned()], std::future::pending()));
    is_send(program().start(StartOptions::of("unused")));
}
