//! The provider libraries served over wRPC.
