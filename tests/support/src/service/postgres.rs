//! PostgreSQL. Invariant: passwords are asked for (scram), commits are synced, and nothing but 127.0.0.1 is listened on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use super::{Ready, Service, is_service};
use crate::place::{Place, write_private};
use crate::process::{Launch, StopSignal, as_user};

/// A PostgreSQL server of its own.
#[derive(Debug)]
pub struct Postgres {
    service: Service,
    port: u16,
    password: String,
}

is_service!(Postgres);

impl Postgres {
    /// Makes the database cluster on first use, then starts the server.
    ///
    /// # Errors
    /// When either fails, with the end of the log.
    pub async fn start_in(place: &Place, bin: &Path) -> anyhow::Result<Self> {
        let (port, password) = (place.port("postgres")?, place.secret("postgres-superuser")?);
        let account = Account::choose()?;
        let folder = data_folder(place, account.as_ref())?;
        let data = folder.join("data");
        let log = place.log("postgres")?;
        if !data.join("PG_VERSION").exists() || folder.join("initdb-unfinished").exists() {
            let (bin, folder, account, password) = (bin.to_owned(), folder.clone(), account.clone(), password.clone());
            tokio::task::spawn_blocking(move || init(&bin, &folder, account.as_ref(), &password)).await??;
        }
        let settings = [
            ("port", port.to_string()),
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", String::new()),
            ("max_connections", "200".to_owned()),
            ("fsync", "on".to_owned()),
            ("logging_collector", "off".to_owned()),
        ];
        let mut arguments = vec!["-D".into(), data.clone().into_os_string()];
        arguments.extend(settings.iter().flat_map(|(name, value)| ["-c".into(), format!("{name}={value}").into()]));
        let launch = Launch {
            name: "postgres".to_owned(),
            program: bin.join("postgres"),
            arguments,
            environment: Vec::new(),
            folder: "/".into(),
            log,
            user: account.map(|account| account.name),
            stop_signal: StopSignal::Interrupt,
            lifetime: place.lifetime(),
        };
        let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
        let mut postgres =
            Self { service: Service::new(launch, Ready::Postgres { url }, Duration::from_secs(60)), port, password };
        postgres.start().await?;
        Ok(postgres)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of the superuser.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }
}

/// The unprivileged account that the server runs under when we are root (it refuses to run as root).
#[derive(Clone, Debug)]
struct Account {
    name: String,
    user: u32,
    group: u32,
}

impl Account {
    fn choose() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        let find = |wanted: &str| {
            accounts.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next().filter(|name| *name == wanted)?;
                let user = fields.nth(1)?.parse().ok()?;
                Some(Self { name: name.to_owned(), user, group: fields.next()?.parse().ok()? })
            })
        };
        find("postgres")
            .or_else(|| find("nobody"))
            .map(Some)
            .ok_or_else(|| anyhow!("PostgreSQL does not run as root and there is neither a user postgres nor nobody"))
    }
}

/// The folder for the cluster: in the data folder, or, where its account cannot get through to that (a home of root's), below `/var/lib`.
fn data_folder(place: &Place, account: Option<&Account>) -> anyhow::Result<PathBuf> {
    let Some(account) = account else { return place.folder("postgres") };
    let root = place.root();
    let folder = if root.parent().is_none_or(|parent| passable(parent, account)) {
        // Others may pass through the data folder, which lets them see nothing: all in it has modes of its own.
        let mode = fs::metadata(root)?.permissions().mode();
        fs::set_permissions(root, fs::Permissions::from_mode(mode | 0o011))?;
        place.folder("postgres")?
    } else {
        let name = root.display().to_string().trim_matches('/').replace('/', "-");
        let folder = Path::new("/var/lib/swiftcart").join(name).join("postgres");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        write_private(&place.root().join("postgres-data-is-in"), folder.display().to_string().as_bytes())?;
        folder
    };
    chown(&folder, Some(account.user), Some(account.group))
        .with_context(|| format!("giving {} to {}", folder.display(), account.name))?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    Ok(folder)
}

fn passable(folder: &Path, account: &Account) -> bool {
    use std::os::unix::fs::MetadataExt;
    folder.ancestors().all(|ancestor| {
        fs::metadata(ancestor).is_ok_and(|metadata| {
            let bit = if metadata.uid() == account.user { 0o100 } else { 0o001 };
            metadata.mode() & bit != 0
        })
    })
}

fn init(bin: &Path, folder: &Path, account: Option<&Account>, password: &str) -> anyhow::Result<()> {
    let data = folder.join("data");
    // The mark makes an initialisation that was cut short begin anew.
    let mark = folder.join("initdb-unfinished");
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    }
    fs::write(&mark, "")?;
    let password_file = folder.join("password");
    write_private(&password_file, password.as_bytes())?;
    if let Some(account) = account {
        chown(&password_file, Some(account.user), Some(account.group))?;
    }
    let mut command = as_user(account.map(|account| account.name.as_str()), None, &bin.join("initdb"))?;
    command.arg("-D").arg(&data).arg("--pwfile").arg(&password_file);
    command.args([
        "--username=postgres",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
    ]);
    let output = command.current_dir("/").stdin(Stdio::null()).output().context("starting initdb")?;
    fs::remove_file(&password_file)?;
    if !output.status.success() {
        bail!(
            "initdb ended with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::remove_file(&mark)?;
    Ok(())
}
