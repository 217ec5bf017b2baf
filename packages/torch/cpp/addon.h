// The parts that the addon is made of; addon.cpp puts them together.
#pragma once

#include "call.h"

namespace larr {

/// Generated methods of Tensor and generated functions (operators.cpp).
std::vector<Function> operatorMethods();
std::vector<Function> operatorFunctions();

/// The Tensor class (tensor.cpp); its constructor is kept in the environment.
napi_value defineTensorClass(Environment& environment, const std::vector<Function>& operators);

std::vector<Function> creationFunctions();     // creation.cpp
std::vector<Function> stateFunctions();        // state.cpp: scopes, gradient mode, autocast, random state, threads, versions
std::vector<Function> optimiserFunctions();    // optimisers.cpp
std::vector<Function> adagradFunctions();      // adagrad.cpp
std::vector<Function> compactFunctions();      // compact/compact.cpp
std::vector<Function> safetensorsFunctions();  // safetensors.cpp
std::vector<Function> jobFunctions();          // job/job.cpp: several processes

/// Keeps freed memory for reuse instead of giving it back to the system at every step (memory.cpp).
void keepFreedMemory();

}  // namespace larr
