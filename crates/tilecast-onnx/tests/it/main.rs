//! Tests of whole files: shapes of exports, external data, hostile models, functions, opset upgrades.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod exports;
mod external_data;
mod functions;
mod upgrade;

// Shared.
mod support;
