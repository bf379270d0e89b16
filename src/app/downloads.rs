//! The thread that looks for models and fetches them for the window: one at a time, told by event, stopped by one atomic.
//! Knows nothing of panels.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::cli::checkpoint;
use crate::download::{Choice, ChoiceKind, Ended, News, Progress};
use crate::engine::{DeviceChoice, device, fit};
use crate::event::Event;
use crate::model::hub::{Control, Hub, HubError, HubId, Plan};
use crate::model::qwen2_5_omni::config::Config;
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::model::{RELEASED, released};

/// Looks for models and fetches one at a time.
pub(super) struct Downloads {
    hub: Arc<Hub>,
    stop: Arc<AtomicBool>,
    plan: Arc<Mutex<Option<Plan>>>,
    worker: Option<JoinHandle<()>>,
}

impl Downloads {
    pub(super) fn new(hub: Hub) -> Self {
        Self { hub: Arc::new(hub), stop: Arc::default(), plan: Arc::default(), worker: None }
    }

    /// Lists what can be chosen. Reads folders and asks nobody.
    pub(super) fn list(&self, device: DeviceChoice, notify: impl Fn(Event) + Send + 'static) {
        let hub = Arc::clone(&self.hub);
        let spawned = std::thread::Builder::new().name("list models".into()).spawn(move || {
            notify(Event::Models(News::Choices(choices(&hub, device))));
        });
        if let Err(e) = spawned {
            log::warn!("the models could not be listed: {e}");
        }
    }

    /// Asks the hub what a checkpoint consists of.
    pub(super) fn look_up(&mut self, number: u64, id: String, notify: impl Fn(Event) + Clone + Send + 'static) {
        self.work(number, notify, move |hub, plan, control, notify| {
            let id: HubId = id.trim().parse()?;
            if let Some(dir) = hub.cached(&id) {
                return Ok(Some(Ended::Done(dir)));
            }
            let found = hub.plan(&id, control)?;
            notify(News::Offered { number, offer: hub.offer(&found) });
            *plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            Ok(None)
        });
    }

    /// Fetches what was looked up last, or what is missing of it.
    pub(super) fn start(&mut self, number: u64, notify: impl Fn(Event) + Clone + Send + 'static) {
        self.work(number, notify, |hub, plan, control, _| {
            let plan = plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match plan {
                Some(plan) => hub.download(&plan, control).map(|dir| Some(Ended::Done(dir))),
                None => Ok(Some(Ended::Failed("nothing was looked up yet; enter the model's name again".to_owned()))),
            }
        });
    }

    /// Stops what goes on; what came is kept.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn work(
        &mut self,
        number: u64,
        notify: impl Fn(Event) + Clone + Send + 'static,
        work: impl FnOnce(&Hub, &Mutex<Option<Plan>>, &mut Control<'_>, &dyn Fn(News)) -> Result<Option<Ended>, HubError>
        + Send
        + 'static,
    ) {
        self.stop();
        let stop = Arc::new(AtomicBool::new(false));
        self.stop = Arc::clone(&stop);
        let (hub, plan, before) = (Arc::clone(&self.hub), Arc::clone(&self.plan), self.worker.take());
        let failed = notify.clone();
        let spawned = std::thread::Builder::new().name("fetch model".into()).spawn(move || {
            if let Some(before) = before {
                // It lets go of its files first. A panic of it was reported when it happened.
                let _ = before.join();
            }
            let tell = |news| notify(Event::Models(news));
            let mut progress = |progress: Progress| tell(News::Progress { number, progress });
            let end = match work(&hub, &plan, &mut Control { stop: &stop, notify: &mut progress }, &tell) {
                Ok(end) => end,
                Err(HubError::Stopped) => Some(Ended::Stopped),
                Err(e) => Some(Ended::Failed(e.to_string())),
            };
            if let Some(end) = end {
                tell(News::Ended { number, end });
            }
        });
        match spawned {
            Ok(worker) => self.worker = Some(worker),
            Err(e) => {
                let end = Ended::Failed(format!("the system gave no thread: {e}"));
                failed(Event::Models(News::Ended { number, end }));
            }
        }
    }
}

impl Drop for Downloads {
    fn drop(&mut self) {
        // Not joined: a silent connection may take half a minute to end, and what came is kept either way.
        self.stop();
    }
}

/// The bundled model, what is in the hub's cache, and suggestions.
fn choices(hub: &Hub, choice: DeviceChoice) -> Vec<Choice> {
    let device = device::choose_device(choice).ok();
    let fit = |config: &Config| fit::summary(config, &device.as_ref()?.device).ok();
    let mut choices = Vec::new();
    if let Ok(dir) = checkpoint::find("bundled") {
        let bytes = std::fs::metadata(dir.join("model.safetensors")).map_or(0, |m| m.len());
        choices.push(Choice { id: "bundled".into(), kind: ChoiceKind::Bundled, dir: Some(dir), bytes, fit: None });
    }
    for held in hub.held() {
        let kind = if held.complete { ChoiceKind::Complete } else { ChoiceKind::Partial };
        let fit = Config::load(&held.dir).ok().and_then(|config| fit(&config));
        let dir = held.complete.then_some(held.dir);
        choices.push(Choice { id: held.id, kind, dir, bytes: held.bytes, fit });
    }
    // What is suggested where it is not here.
    for (id, _) in RELEASED {
        let Some(config) = released(id).filter(|_| choices.iter().all(|c| c.id != id)) else { continue };
        // Released in two bytes a weight; its files hold some more beside.
        let bytes = Thinker::manifest(&config)
            .map_or(0, |m| m.shapes().values().map(|shape| shape.iter().product::<usize>() as u64 * 2).sum());
        choices.push(Choice { id: id.into(), kind: ChoiceKind::Suggested, dir: None, bytes, fit: fit(&config) });
    }
    choices
}
