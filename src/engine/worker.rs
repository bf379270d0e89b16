//! The thread that owns the model: takes the newest request, runs it, reports events, survives faults.
//! Knows nothing of what events are for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use crate::engine::device;
use crate::engine::mailbox::Mailbox;
use crate::engine::options::LoadOptions;
use crate::engine::session::{Run, Session, Update};
use crate::engine::trouble::{self, Trouble};
use crate::engine::words::{Desk, Words};
use crate::event::{Event, Request};
use crate::media::MediaError;

/// Handle of the inference thread; dropping it cancels what runs and joins the thread.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    mailbox: Mailbox<Work>,
    /// The cancel flag of whatever was asked last.
    current: Mutex<Arc<AtomicBool>>,
    /// Where words are laid out.
    desk: Desk,
}

/// The newest wish of each kind.
#[derive(Debug, Default)]
struct Work {
    load: Option<LoadOptions>,
    ask: Option<(Request, Arc<AtomicBool>)>,
    /// A request that a load took the place of.
    dropped: Option<u64>,
}

impl Engine {
    /// Starts the thread; `notify` is called on it and on its tensor threads.
    pub fn spawn(notify: impl Fn(Event) + Send + Sync + 'static) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let notify: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(notify);
        let mut engine = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let (worker, tell) = (Arc::clone(&shared), Arc::clone(&notify));
        engine.start("inference", move || serve(&worker, &*tell))?;
        engine.start("words", move || shared.desk.serve(&*notify))?;
        Ok(engine)
    }

    fn start(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(thread.with_context(|| format!("cannot start the {name} thread"))?);
        Ok(())
    }

    /// Lays words out as the loaded checkpoint does, beside whatever it is busy with; without one, nothing happens.
    pub fn lay_out(&self, words: Words) {
        self.shared.desk.mailbox.put(|_| words);
    }

    /// Loads a model in place of the one there is; what runs is cancelled, what waits is dropped.
    pub fn load(&self, options: LoadOptions) {
        self.cancel();
        self.shared.mailbox.put(|waiting| {
            let dropped = waiting.and_then(|w| w.ask.map(|(request, _)| request.epoch).or(w.dropped));
            Work { load: Some(options), ask: None, dropped }
        });
    }

    /// Asks; what runs is cancelled and an older request that still waits is dropped.
    pub fn ask(&self, request: Request) {
        let flag = Arc::new(AtomicBool::new(false));
        let before = std::mem::replace(&mut *self.current(), Arc::clone(&flag));
        before.store(true, Ordering::Relaxed);
        // A model that still waits to be loaded is loaded first.
        self.shared.mailbox.put(|waiting| {
            let load = waiting.and_then(|w| w.load);
            Work { load, ask: Some((request, flag)), dropped: None }
        });
    }

    fn current(&self) -> MutexGuard<'_, Arc<AtomicBool>> {
        // Only ever locked to swap or read one pointer: poisoning means nothing here.
        self.shared.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops what runs at the next layer.
    pub fn cancel(&self) {
        self.current().store(true, Ordering::Relaxed);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.cancel();
        self.shared.mailbox.close();
        self.shared.desk.mailbox.close();
        for thread in self.threads.drain(..) {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Shared, notify: &(dyn Fn(Event) + Send + Sync)) {
    let mut loaded: Option<Loaded> = None;
    while let Some(work) = shared.mailbox.take() {
        if let Some(epoch) = work.dropped {
            notify(Event::AskStopped { epoch });
        }
        if let Some(options) = work.load {
            notify(Event::ModelLoading { id: options.id.clone() });
            replace(&mut loaded, options, &shared.desk, notify);
        }
        let Some((request, cancel)) = work.ask else { continue };
        let epoch = request.epoch;
        let Some(Loaded { pool, session, .. }) = &mut loaded else {
            let message = "no model is loaded; choose one first".into();
            notify(Event::AskFailed { epoch, message, smaller: None });
            continue;
        };
        let answer = guarded(|| {
            pool.install(|| {
                let mut forward = |update| {
                    notify(match update {
                        Update::Stage(stage) => Event::Stage { epoch, stage },
                        Update::Prompt(provenance) => Event::Prompt { epoch, provenance },
                        Update::Fed(fed) => Event::Fed { epoch, fed },
                        Update::Token(token) => Event::Token { epoch, token },
                    });
                };
                session.answer(&request, &mut Run { fed: true, ..Run::new(&cancel, &mut forward) })
            })
        });
        match answer {
            Ok(answer) => notify(Event::Answered { epoch, answer: Arc::new(answer) }),
            // Before the model ran: nothing is wrong, and what is kept for reuse is as good as before.
            Err(e) if matches!(e.downcast_ref(), Some(MediaError::Cancelled)) => notify(Event::AskStopped { epoch }),
            Err(e) => {
                let after = trouble::after(e, session);
                let message = format!("{:#}", after.error);
                notify(Event::AskFailed { epoch, message, smaller: after.smaller });
                if after.trouble == Trouble::DeviceLost {
                    loaded = None;
                    shared.desk.set(None);
                    notify(Event::ModelLost);
                }
            }
        }
    }
}

/// A model, and how it came.
struct Loaded {
    options: LoadOptions,
    pool: rayon::ThreadPool,
    session: Session,
}

/// Loads a model in the place of the one there is. Where that fails, the old one stays, or comes back.
fn replace(loaded: &mut Option<Loaded>, options: LoadOptions, desk: &Desk, notify: &(dyn Fn(Event) + Send + Sync)) {
    // What is wrong with small files is known while an old model is still there.
    let checked = if loaded.is_some() { guarded(|| Session::check(&options)) } else { Ok(()) };
    let failed = match checked {
        Ok(()) => {
            // The old weights go first: two models need not fit at once.
            let old = loaded.take().map(|Loaded { options, pool, session }| {
                let device = session.thinker().device().clone();
                drop((session, pool));
                device::give_back(&device);
                options
            });
            desk.set(None);
            match open(options) {
                Ok(new) => {
                    *loaded = Some(new);
                    None
                }
                Err(e) => {
                    *loaded = old.and_then(|old| open(old).ok());
                    Some(e)
                }
            }
        }
        Err(e) => Some(e),
    };
    desk.set(loaded.as_ref().and_then(|l| l.session.shared_processor()));
    if let Some(e) = failed {
        notify(Event::ModelFailed { message: format!("{e:#}") });
    }
    if let Some(Loaded { session, .. }) = loaded {
        notify(Event::ModelReady(Arc::clone(session.info())));
    }
}

fn open(options: LoadOptions) -> Result<Loaded> {
    let (pool, session) = guarded(|| load(&options))?;
    Ok(Loaded { options, pool, session })
}

/// Loads a model inside a thread pool of its own.
pub fn load(options: &LoadOptions) -> Result<(rayon::ThreadPool, Session)> {
    let pool = thread_pool(options.threads, options.background)?;
    let session = pool.install(|| Session::open(options))?;
    Ok((pool, session))
}

/// A pool for tensor work: `threads` or all cores, at lower priority when `background`.
pub fn thread_pool(threads: Option<usize>, background: bool) -> Result<rayon::ThreadPool> {
    let mut builder = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("tensor-{i}"));
    if let Some(threads) = threads {
        builder = builder.num_threads(threads);
    }
    if background {
        builder = builder.start_handler(|_| lower_priority());
    }
    builder.build().context("cannot start the tensor threads")
}

/// Lowers the scheduling priority of the calling thread, so that the interface and the sound go first.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code, reason = "there is no safe binding for a thread's own nice value")]
    // SAFETY: setpriority takes no pointers; 0 names the calling thread on Linux. A refusal changes nothing.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10);
    }
}

/// Runs `f` and turns a panic into an error, so that the thread lives on.
fn guarded<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown".into());
        Err(anyhow::anyhow!("an internal fault: {what}"))
    })
}
