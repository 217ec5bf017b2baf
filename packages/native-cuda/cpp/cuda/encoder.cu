#include "encoder_host.inl"
