//! What candle lacks for training on a CPU that can be repeated: named parameters in a fixed order with
//! seeded starts, layers whose gradients arrive, an optimiser whose state can be saved. Pure.
