//! The one way from a core to the world.

/// What a core wants done: every record of `first` must be durable before any output of `then` may be
/// seen by anyone. Built by cores, opened by `gateway/src/commit.rs` alone.
#[derive(Debug)]
#[must_use = "effects that are dropped lose acknowledgements"]
pub struct Effects<R, O> {
    first: Vec<R>,
    then: Vec<O>,
}

impl<R, O> Effects<R, O> {
    /// Nothing to do yet; allocates nothing.
    pub const fn new() -> Self {
        Self { first: Vec::new(), then: Vec::new() }
    }

    /// Adds a record that must be durable before any output is seen.
    pub fn first(&mut self, record: R) {
        self.first.push(record);
    }

    /// Adds an output that waits for every record.
    pub fn then(&mut self, output: O) {
        self.then.push(output);
    }

    /// Whether nothing has to be stored before the outputs may be seen.
    pub fn stores_nothing(&self) -> bool {
        self.first.is_empty()
    }

    /// Whether there is neither a record nor an output.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.then.is_empty()
    }

    /// Takes the parts out, leaving the allocations of `self` empty. For the commit step only.
    pub fn open(&mut self) -> (Vec<R>, Vec<O>) {
        (std::mem::take(&mut self.first), std::mem::take(&mut self.then))
    }

    /// Drains the outputs of effects that store nothing, keeping the allocation. For the commit step only.
    pub fn drain_outputs(&mut self) -> std::vec::Drain<'_, O> {
        debug_assert!(self.first.is_empty(), "records must be committed before outputs are seen");
        self.then.drain(..)
    }
}

impl<R, O> Default for Effects<R, O> {
    fn default() -> Self {
        Self::new()
    }
}
