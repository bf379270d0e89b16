//! A slot for the newest request: putting replaces what was not taken yet. Knows nothing of requests.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Who waits without end looks up this often.
const LONG: Duration = Duration::from_hours(1);

/// A one-place queue in which the newest value wins.
#[derive(Debug)]
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

/// What waiting for a value came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// There is one.
    Value(T),
    /// None came in time.
    Late,
    /// None will come: the box is closed.
    Closed,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    closed: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, closed: false }), filled: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    /// Puts what `newest` makes of the value that waits, if any; nothing is put once the box is closed.
    pub fn put(&self, newest: impl FnOnce(Option<T>) -> T) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.closed {
            state.value = Some(newest(state.value.take()));
            self.filled.notify_one();
        }
    }

    /// Waits for a value; `None` once the box is closed and empty.
    pub fn take(&self) -> Option<T> {
        loop {
            match self.take_within(LONG) {
                Taken::Value(value) => return Some(value),
                Taken::Closed => return None,
                Taken::Late => {}
            }
        }
    }

    /// Waits for a value, but not longer than this.
    pub fn take_within(&self, wait: Duration) -> Taken<T> {
        // A panic cannot leave a move of one value half-done, so a poisoned lock is as good as any.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = |state: &mut State<T>| state.value.is_none() && !state.closed;
        let (mut state, _) = self.filled.wait_timeout_while(state, wait, empty).unwrap_or_else(PoisonError::into_inner);
        match state.value.take() {
            Some(value) => Taken::Value(value),
            None if state.closed => Taken::Closed,
            None => Taken::Late,
        }
    }

    /// Looks at the value that waits without taking it, and whether the box is closed.
    pub fn look<R>(&self, at: impl FnOnce(Option<&T>, bool) -> R) -> R {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        at(state.value.as_ref(), state.closed)
    }

    /// Lets [`Self::take`] return `None` from now on; a value not taken yet is dropped.
    pub fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        state.value = None;
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_wins_and_closing_ends_the_wait() {
        let mailbox: Mailbox<i32> = Mailbox::default();
        mailbox.put(|_| 1);
        mailbox.put(|waiting| waiting.unwrap_or(0) + 10);
        assert_eq!(mailbox.take(), Some(11));
        assert_eq!(mailbox.take_within(Duration::ZERO), Taken::Late);
        mailbox.put(|_| 3);
        assert!(mailbox.look(|value, closed| value == Some(&3) && !closed));
        assert_eq!(mailbox.take_within(Duration::ZERO), Taken::Value(3));
        mailbox.put(|_| 3);
        mailbox.close();
        mailbox.put(|_| 4);
        assert_eq!((mailbox.take(), mailbox.take_within(Duration::ZERO)), (None, Taken::Closed));
        assert!(mailbox.look(|value, closed| value.is_none() && closed));
    }
}
