//! How good forecasts are.
