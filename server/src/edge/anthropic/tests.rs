//! The surface from request to response, with real keys and a real ledger.
