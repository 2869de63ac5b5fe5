//! A service with its test, quoted by docs/first-service.md.

use sagamore::prelude::*;

#[derive(Message)]
#[message(to = "greeter", yields = Greeted)]
struct Greet {
    name: String,
}

#[derive(Message)]
struct Greeted {
    text: String,
}

#[derive(Debug, Refusal)]
#[refusal(code = "no-name", message = "a guest has a name")]
struct NoName;

async fn greet(_tx: Tx, Greet { name }: Greet) -> Decided<Greeted, NoName> {
    if name.is_empty() {
        return refused(NoName);
    }
    done(Greeted { text: format!("Hello, {name}!") })
}

/// Returns the service, with a handler for each of its commands.
pub fn service() -> Service {
    Service::named("greeter").action(greet)
}

#[cfg(test)]
mod tests {
    use sagamore::testing::TestService;

    use super::*;

    #[tokio::test]
    async fn a_guest_with_a_name_is_greeted() {
        let greeter = TestService::of(service()).await;
        assert_eq!(greeter.send(Greet { name: "Ada".into() }).await.done().text, "Hello, Ada!");
        assert_eq!(greeter.send(Greet { name: "".into() }).await.refusal().code, "no-name");
    }
}
