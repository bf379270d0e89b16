//! A slot for the newest request: putting replaces what was not taken yet. Knows nothing of requests.

use std::sync::{Condvar, Mutex, PoisonError};

/// A one-place queue in which the newest value wins.
#[derive(Debug)]
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
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
        // A panic cannot leave a move of one value half-done, so a poisoned lock is as good as any.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = state.value.take() {
                return Some(value);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
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
        mailbox.put(|_| 3);
        mailbox.close();
        mailbox.put(|_| 4);
        assert_eq!(mailbox.take(), None);
    }
}
