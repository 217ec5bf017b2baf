// Preloaded by src/job.test.ts: MPI functions that do, where LARR_ODD_MPI says so, what an MPI seldom does. The numbers are those that
// Open MPI and MPICH share.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static int odd(const char* what) {
  const char* wanted = getenv("LARR_ODD_MPI");
  return wanted != NULL && strcmp(wanted, what) == 0;
}

int MPI_Init_thread(int* argc, char*** argv, int required, int* provided) {
  int (*real)(int*, char***, int, int*) = (int (*)(int*, char***, int, int*))dlsym(RTLD_DEFAULT, "PMPI_Init_thread");
  const int status = real(argc, argv, required, provided);
  if (odd("single")) *provided = 0;  // MPI_THREAD_SINGLE
  return status;
}

int MPI_Waitall(int count, void* requests, void* statuses) {
  if (odd("wait")) return 15;  // some error
  int (*real)(int, void*, void*) = (int (*)(int, void*, void*))dlsym(RTLD_DEFAULT, "PMPI_Waitall");
  return real(count, requests, statuses);
}

// A handle is a pointer with Open MPI and an int with MPICH: either is passed on as it came.
int MPI_Isend(const void* data, int count, void* type, int to, int tag, void* comm, void* request) {
  if (odd("send")) return 15;
  int (*real)(const void*, int, void*, int, int, void*, void*) =
      (int (*)(const void*, int, void*, int, int, void*, void*))dlsym(RTLD_DEFAULT, "PMPI_Isend");
  return real(data, count, type, to, tag, comm, request);
}
