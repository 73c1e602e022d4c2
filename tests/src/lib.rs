//! How a suite of SwiftCart runs: its cases share one expensive fixture (a whole shop), one after the other, so that a case may kill what
//! it likes and no other case is disturbed. Reports like `cargo test`.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Failed, Trial};
use tokio::runtime::Runtime;

pub mod broker;
pub mod calls;
pub mod operator;
pub mod shop;

pub use libtest_mimic::Arguments;

/// What a case is: a function of the fixture.
pub type Run<F> = for<'a> fn(&'a mut F) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// A case with its name.
pub struct Case<F> {
    /// Its path, for filters and reports.
    pub name: &'static str,
    /// Its function.
    pub run: Run<F>,
}

/// Lists cases by the paths of their functions.
#[macro_export]
macro_rules! cases {
    ($($case:path),* $(,)?) => {
        vec![$($crate::Case { name: stringify!($case), run: |fixture| Box::pin($case(fixture)) }),*]
    };
}

/// A fixture that a suite shares.
pub trait Fixture: Sized + Send + 'static {
    /// Makes it, once, before the first case that is to run.
    fn start() -> impl Future<Output = anyhow::Result<Self>>;

    /// Brings it back to order after a case, however that ended.
    fn recover(&mut self) -> impl Future<Output = anyhow::Result<()>>;

    /// Ends it.
    fn stop(self) -> impl Future<Output = anyhow::Result<()>>;
}

/// Runs a suite. Takes the arguments of `cargo test`: filters, `--list`, `--exact`, `--skip`.
pub fn run<F: Fixture>(cases: Vec<Case<F>>) -> ExitCode {
    run_with(Arguments::from_args(), cases)
}

/// The same for a suite that has taken arguments of its own out before.
pub fn run_with<F: Fixture>(mut arguments: Arguments, cases: Vec<Case<F>>) -> ExitCode {
    arguments.test_threads = Some(1);
    let runtime = match Runtime::new() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let shared = Arc::new(Mutex::new(State::<F>::Waiting));
    let trials = cases
        .into_iter()
        .map(|case| {
            let (runtime, shared) = (runtime.clone(), shared.clone());
            Trial::test(case.name, move || {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                runtime.block_on(one(&mut state, case.run)).map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let state = std::mem::replace(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner), State::Waiting);
    if let State::Started(fixture) = state
        && let Err(error) = runtime.block_on(fixture.stop())
    {
        eprintln!("the fixture did not stop cleanly: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

enum State<F> {
    Waiting,
    Started(F),
    Broken(String),
}

async fn one<F: Fixture>(state: &mut State<F>, run: Run<F>) -> anyhow::Result<()> {
    if matches!(state, State::Waiting) {
        *state = match F::start().await {
            Ok(fixture) => State::Started(fixture),
            Err(error) => State::Broken(format!("{error:#}")),
        };
    }
    match state {
        State::Started(fixture) => {
            let outcome = run(fixture).await;
            let recovered = fixture.recover().await;
            outcome.and(recovered)
        }
        State::Broken(reason) => anyhow::bail!("the fixture did not start: {reason}"),
        State::Waiting => anyhow::bail!("the fixture was not started"),
    }
}
