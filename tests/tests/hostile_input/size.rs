//! How much of everything: enough to show that it works in every run, and all that the list says on request.

/// Whether everything is tried at the size of the list and the pair's times are judged: `TIDEGATE_HOSTILE=full`, which says
/// something of an optimised gateway on a calm machine only.
pub(super) fn is_full() -> bool {
    std::env::var_os("TIDEGATE_HOSTILE").is_some_and(|value| value == "full")
}

/// So many in every run, and so many on request.
pub(super) fn size(usual: usize, full: usize) -> usize {
    if is_full() { full } else { usual }
}
