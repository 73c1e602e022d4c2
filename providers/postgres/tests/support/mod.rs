//! A private PostgreSQL server for one test: its own data directory, its own free port, gone when the test ends.
//! It fails loudly where PostgreSQL is not installed; a test that skips itself proves nothing.
#![allow(dead_code, reason = "each suite uses its part")]

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use swiftcart_provider_postgres::{Config, Postgres, RowSet, Statement, Value};

/// A running server.
pub(crate) struct Server {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// Makes a data directory and starts a server on it.
    pub(crate) async fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("swiftcart-postgres-").tempdir().unwrap();
        if is_root() {
            let status = Command::new("chown").arg("postgres").arg(folder.path()).status().unwrap();
            assert!(status.success(), "cannot give {} to the user postgres", folder.path().display());
        }
        let output = as_server_user(&programs.join("initdb"))
            .args(["--username=test", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(folder.path().join("data"))
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { programs, folder, port, process: None };
        server.resume().await;
        server
    }

    /// Starts the server again after [`Server::stop`].
    pub(crate) async fn resume(&mut self) {
        let child = as_server_user(&self.programs.join("postgres"))
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k"])
            .arg(self.folder.path())
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.process = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while Postgres::connect(self.config(&[])).await.is_err() {
            let child = self.process.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() || Instant::now() > deadline {
                let _ = child.kill();
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("PostgreSQL did not start: {said}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the server at once, as a crash does.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.process.take() {
            // SIGQUIT to the postmaster is PostgreSQL's immediate shutdown, which takes its children along; SIGKILL would orphan them.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    /// The configuration of a client, with some keys added.
    pub(crate) fn config(&self, more: &[(&str, &str)]) -> Config {
        let url = format!("postgres://test@127.0.0.1:{}/postgres", self.port);
        let pairs = [("url", url.as_str())].into_iter().chain(more.iter().copied());
        Config::from_pairs(pairs.map(|(key, value)| (key.to_owned(), value.to_owned()))).unwrap()
    }

    /// A client.
    pub(crate) async fn client(&self, more: &[(&str, &str)]) -> Postgres {
        Postgres::connect(self.config(more)).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The newest installed programs of PostgreSQL.
fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.retain(|folder| folder.join("initdb").exists());
    versions.sort();
    versions
        .pop()
        .expect("these tests need PostgreSQL in /usr/lib/postgresql/<version>/bin (Debian: apt install postgresql)")
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0).unwrap_or(false)
}

/// PostgreSQL refuses to run as root; as root we become its user, which the package makes.
fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        let id = |flag: &str| -> u32 {
            let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
            String::from_utf8(output.stdout)
                .unwrap()
                .trim()
                .parse()
                .expect("as root these tests need the user postgres")
        };
        command.uid(id("-u")).gid(id("-g"));
    }
    command
}

/// A statement.
pub(crate) fn statement(sql: &str, params: Vec<Value>) -> Statement {
    Statement { sql: sql.to_owned(), params, expected_rows: None }
}

/// Runs one statement that must succeed.
pub(crate) async fn run(client: &Postgres, sql: &str, params: Vec<Value>) -> RowSet {
    client.transact(vec![statement(sql, params)]).await.unwrap().remove(0)
}

/// The only value of a statement that gives one.
pub(crate) async fn one(client: &Postgres, sql: &str, params: Vec<Value>) -> Value {
    run(client, sql, params).await.rows.remove(0).remove(0)
}

/// Waits until something holds; fails after ten seconds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
