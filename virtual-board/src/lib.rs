//! Simulated boards behind pseudo terminals.
