//! Mails against a small SMTP server of our own that misbehaves on demand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use swiftcart_provider_email::{Config, Error, Header, Mail, Mailer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with the next mail.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mood {
    #[default]
    Accept,
    /// Answers so to RCPT.
    Recipient(&'static str),
    /// Answers so to the end of the text.
    Text(&'static str),
    /// Answers so to DATA.
    Data(&'static str),
    /// Closes instead of answering to the end of the text, after having taken the mail.
    DropAfterText,
    /// Never answers to the end of the text.
    SilentAfterText,
    /// Closes instead of answering to MAIL.
    DropAtMail,
    /// Closes each connection after one mail.
    CloseAfterMail,
    /// Answers 421 to the second MAIL on a connection, as a server does that waited too long.
    ShutIdle,
    /// Greets with a refusal.
    Greeting(&'static str),
}

#[derive(Default)]
struct State {
    mood: Mutex<Mood>,
    connections: AtomicUsize,
    /// Recipient and text of what was taken.
    mails: Mutex<Vec<(String, String)>>,
    logins: Mutex<Vec<String>>,
}

struct Server {
    state: Arc<State>,
    port: u16,
    _tasks: tokio::task::JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let mut tasks = tokio::task::JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&shared);
                sessions.spawn(async move {
                    // A session that ends early is the point of most tests.
                    let _ = session(stream, &state).await;
                });
            }
        });
        Self { state, port, _tasks: tasks }
    }

    fn mailer(&self, more: &[(&str, &str)]) -> Mailer {
        let url = format!("smtp://127.0.0.1:{}", self.port);
        mailer(&[[("url", url.as_str())].as_slice(), more].concat())
    }

    fn mood(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    fn mails(&self) -> Vec<(String, String)> {
        self.state.mails.lock().unwrap().clone()
    }
}

/// One connection, as RFC 5321 has it.
async fn session(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mood = || *state.mood.lock().unwrap();
    let greeting = if let Mood::Greeting(answer) = mood() { answer } else { "220 test ESMTP" };
    writer.write_all(format!("{greeting}\r\n").as_bytes()).await?;
    let (mut recipient, mut mails) = (String::new(), 0);
    while let Some(line) = lines.next_line().await? {
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let answer = match (verb.as_str(), mood()) {
            ("EHLO", _) => "250-test\r\n250-AUTH PLAIN\r\n250 8BITMIME",
            ("AUTH", _) => {
                state.logins.lock().unwrap().push(line.clone());
                if line.ends_with("AHUAcA==") { "235 ok" } else { "535 wrong password" }
            }
            ("MAIL", Mood::DropAtMail) => return Ok(()),
            ("MAIL", Mood::ShutIdle) if mails > 0 => {
                writer.write_all(b"421 too long idle\r\n").await?;
                return Ok(());
            }
            ("RCPT", Mood::Recipient(answer)) => answer,
            ("RCPT", _) => {
                recipient = line.trim_start_matches("RCPT TO:").to_owned();
                "250 ok"
            }
            ("DATA", Mood::Data(answer)) => answer,
            ("DATA", mood) => {
                writer.write_all(b"354 go ahead\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                if let Mood::Text(answer) = mood {
                    answer
                } else {
                    mails += 1;
                    state.mails.lock().unwrap().push((recipient.clone(), text));
                    match mood {
                        Mood::DropAfterText => return Ok(()),
                        Mood::SilentAfterText => return std::future::pending().await,
                        Mood::CloseAfterMail => {
                            writer.write_all(b"250 taken\r\n").await?;
                            return Ok(());
                        }
                        _ => "250 taken",
                    }
                }
            }
            ("QUIT", _) => {
                writer.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 ok",
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

fn mailer(pairs: &[(&str, &str)]) -> Mailer {
    let pairs = [("from", "Shop <shop@example.org>")].into_iter().chain(pairs.iter().copied());
    Mailer::new(Config::from_pairs(pairs.map(|(key, value)| (key.to_owned(), value.to_owned()))).unwrap()).unwrap()
}

fn mail(to: &str) -> Mail {
    Mail {
        to: to.to_owned(),
        subject: "Your order żółw".to_owned(),
        text: "Hello\n.\n..two\nżółw\n".to_owned(),
        message_id: "event-1@mail.example.org".to_owned(),
        headers: vec![Header { name: "X-Order-Id".to_owned(), value: "42".to_owned() }],
    }
}

/// Goal: the mail arrives whole, and one connection serves many. Method: three mails; look at what the server took.
#[tokio::test]
async fn mails_arrive_over_one_connection() {
    let server = Server::start().await;
    let mailer = server.mailer(&[]);
    mailer.ping().await.unwrap();
    for number in 0..3 {
        mailer.send(&mail(&format!("Name <user{number}@example.org>"))).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    let mails = server.mails();
    assert_eq!(mails.len(), 3);
    let (recipient, text) = &mails[2];
    assert_eq!(recipient, "<user2@example.org>");
    for line in [
        "Message-ID: <event-1@mail.example.org>",
        "X-Order-Id: 42",
        "From: Shop <shop@example.org>",
        "Content-Type: text/plain; charset=utf-8",
        "MIME-Version: 1.0",
        "Hello",
        ".",
        "..two",
        "=C5=BC=C3=B3=C5=82w",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} in {text}");
    }
    assert!(text.is_ascii());
    mailer.close().await;
    assert!(matches!(mailer.send(&mail("user@example.org")).await, Err(Error::Unavailable(_))));
}

/// Goal: refusals are told apart, nothing was taken, and the connection lives on.
#[tokio::test]
async fn refusals() {
    let server = Server::start().await;
    let mailer = server.mailer(&[]);
    for (mood, rejected) in [
        (Mood::Recipient("550 no such user"), true),
        (Mood::Recipient("450 greylisted"), false),
        (Mood::Data("451 later"), false),
        (Mood::Text("554 spam"), true),
        (Mood::Text("452 disk full"), false),
        (Mood::Text("421 shutting down"), false),
    ] {
        server.mood(mood);
        match mailer.send(&mail("user@example.org")).await {
            Err(Error::Rejected(_)) if rejected => {}
            Err(Error::Unavailable(_)) if !rejected => {}
            other => panic!("{mood:?}: {other:?}"),
        }
    }
    assert_eq!(server.connections(), 1);
    server.mood(Mood::Accept);
    mailer.send(&mail("user@example.org")).await.unwrap();
    assert_eq!((server.mails().len(), server.connections()), (1, 2));
    assert!(matches!(mailer.send(&mail("nobody")).await, Err(Error::Invalid(_))));
}

/// Goal: only a mail whose text went out is uncertain. Method: the server drops or falls silent after the text, or drops before it.
#[tokio::test]
async fn lost_connections() {
    let server = Server::start().await;
    let mailer = server.mailer(&[("timeout_ms", "300")]);
    for mood in [Mood::DropAfterText, Mood::SilentAfterText] {
        server.mood(mood);
        let result = mailer.send(&mail("user@example.org")).await;
        assert!(matches!(result, Err(Error::Uncertain(_))), "{mood:?}: {result:?}");
    }
    assert_eq!(server.mails().len(), 2, "each was sent once");
    server.mood(Mood::DropAtMail);
    assert!(matches!(mailer.send(&mail("user@example.org")).await, Err(Error::Unavailable(_))));
    server.mood(Mood::Greeting("554 go away"));
    assert!(matches!(mailer.send(&mail("user@example.org")).await, Err(Error::Unavailable(_))));
    assert!(matches!(mailer.ping().await, Err(Error::Unavailable(_))));
    assert_eq!(server.mails().len(), 2);
    server.mood(Mood::Accept);
    mailer.send(&mail("user@example.org")).await.unwrap();
}

/// Goal: a kept connection that has died meanwhile costs nobody anything. Method: the server closes it, or answers 421.
#[tokio::test]
async fn dead_kept_connections_are_replaced() {
    let server = Server::start().await;
    let mailer = server.mailer(&[]);
    for mood in [Mood::CloseAfterMail, Mood::ShutIdle] {
        server.mood(mood);
        for _ in 0..3 {
            mailer.send(&mail("user@example.org")).await.unwrap();
        }
    }
    assert_eq!(server.mails().len(), 6);
    assert!(server.connections() >= 5);
    server.mood(Mood::CloseAfterMail);
    mailer.send(&mail("user@example.org")).await.unwrap();
    mailer.ping().await.unwrap();
}

/// Goal: no server is `Unavailable`, whether it refuses or never answers.
#[tokio::test]
async fn no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("smtp://127.0.0.1:{port}");
    let mailer = mailer(&[("url", &url), ("timeout_ms", "200")]);
    assert!(
        matches!(mailer.send(&mail("user@example.org")).await, Err(Error::Unavailable(_))),
        "it accepts and says nothing"
    );
    drop(listener);
    assert!(matches!(mailer.send(&mail("user@example.org")).await, Err(Error::Unavailable(_))), "it refuses");
    assert!(matches!(mailer.ping().await, Err(Error::Unavailable(_))));
}

/// Goal: the credentials of the address are used, required encryption is not given up, and connections are bounded.
#[tokio::test]
async fn credentials_encryption_and_bounds() {
    let server = Server::start().await;
    let with = |user: &str, query: &str| {
        mailer(&[("url", &format!("smtp://{user}@127.0.0.1:{}{query}", server.port)), ("max_connections", "2")])
    };
    let good = with("u:p", "");
    let sends = (0..8).map(|_| {
        let good = good.clone();
        tokio::spawn(async move { good.send(&mail("user@example.org")).await })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap().unwrap();
    }
    assert!(server.connections() <= 2);
    assert_eq!(server.mails().len(), 8);
    assert_eq!(server.state.logins.lock().unwrap().len(), server.connections());
    assert!(matches!(with("u:wrong", "").send(&mail("user@example.org")).await, Err(Error::Unavailable(_))));
    let logins = server.state.logins.lock().unwrap().len();
    assert!(matches!(with("u:p", "?tls=required").send(&mail("user@example.org")).await, Err(Error::Unavailable(_))));
    assert_eq!(server.state.logins.lock().unwrap().len(), logins, "no password without encryption");
    with("u:p", "?tls=opportunistic").send(&mail("user@example.org")).await.unwrap();
}
