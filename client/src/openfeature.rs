//! A provider for OpenFeature.
