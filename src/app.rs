//! The composition root of the window: wires workers, state and panels together.
