// What went wrong in a kernel, as the KernelError of src/errors.ts says it.
#pragma once
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "larr/cuda.h"
#include "larr/kernels.h"

namespace larr::addon {

struct FailureReport {
  std::string code, message;
};

inline FailureReport report(std::exception_ptr failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Cancelled& e) {
    return {"CANCELLED", e.what()};
  } catch (const CudaMissing& e) {
    return {"NO_SUCH_DEVICE", e.what()};
  } catch (const cuda::Failure& e) {
    if (e.out_of_memory()) return {"OUT_OF_MEMORY", std::string("not enough memory on the GPU: ") + e.what()};
    return {"KERNEL_FAILED", e.what()};
  } catch (const std::invalid_argument& e) {
    return {"BAD_ARGUMENT", e.what()};
  } catch (const std::out_of_range& e) {
    return {"OUT_OF_RANGE", e.what()};
  } catch (const std::bad_alloc&) {
    return {"OUT_OF_MEMORY", "not enough memory for the kernel's workspace"};
  } catch (const std::exception& e) {
    return {"KERNEL_FAILED", e.what()};
  } catch (...) {
    return {"KERNEL_FAILED", "unknown failure in a kernel"};
  }
}

}  // namespace larr::addon
