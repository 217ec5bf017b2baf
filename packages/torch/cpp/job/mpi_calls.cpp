// larr_mpi.so: MPI behind the table of mpi_calls.h. The only source that includes mpi.h.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include "mpi_calls.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace larr {
namespace {

MPI_Comm job = MPI_COMM_NULL;  // a communicator of our own: nobody else's messages get in between
MPI_Comm ring = MPI_COMM_NULL;
std::vector<MPI_Request> under_way;
bool begun_here = false;

const char* told(int status, const char* what) {
  if (status == MPI_SUCCESS) return nullptr;
  static std::string message;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(status, text, &length);
  message = std::string(what) + ": " + std::string(text, static_cast<size_t>(length));
  return message.c_str();
}

const char* library() {
  static std::string name;
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  if (MPI_Get_library_version(text, &length) == MPI_SUCCESS) name.assign(text, static_cast<size_t>(length));
  // "Open MPI v4.1.4, package: …", "MPICH Version:      4.0.2\nMPICH Release date: …"
  name = name.substr(0, name.find_first_of(",\n"));
  for (size_t i; (i = name.find_first_of("\t")) != std::string::npos || (i = name.find("  ")) != std::string::npos;) {
    if (name[i] == '\t') name[i] = ' ';
    else name.erase(i, 1);
  }
  return name.c_str();
}

const char* join(MpiCalls::Place* place) {
  int status = MPI_SUCCESS, begun = 0, ended = 0;
  MPI_Initialized(&begun);
  MPI_Finalized(&ended);
  if (ended) return "MPI has ended in this process, and starts once";
  // Backward passes have threads of their own; they wait for each other.
  int provided = MPI_THREAD_SINGLE;
  if (begun) {
    status = MPI_Query_thread(&provided);
  } else {
    status = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
    begun_here = status == MPI_SUCCESS;
  }
  if (status != MPI_SUCCESS) return told(status, begun ? "MPI_Query_thread" : "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED) return "this MPI does not let several threads call it in turn (MPI_THREAD_SERIALIZED): take one that does";
  status = MPI_Comm_dup(MPI_COMM_WORLD, &job);
  if (status == MPI_SUCCESS) status = MPI_Comm_dup(MPI_COMM_WORLD, &ring);
  if (status != MPI_SUCCESS) return told(status, "MPI_Comm_dup");
  MPI_Comm_set_errhandler(job, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(ring, MPI_ERRORS_RETURN);
  MPI_Comm_rank(job, &place->rank);
  MPI_Comm_size(job, &place->size);
  MPI_Comm here = MPI_COMM_NULL;
  status = MPI_Comm_split_type(job, MPI_COMM_TYPE_SHARED, place->rank, MPI_INFO_NULL, &here);
  if (status != MPI_SUCCESS) return told(status, "MPI_Comm_split_type");
  MPI_Comm_rank(here, &place->local_rank);
  MPI_Comm_size(here, &place->local_size);
  MPI_Comm_free(&here);
  return nullptr;
}

const char* meet(const void* mine, void* all, int bytes) {
  MPI_Request request = MPI_REQUEST_NULL;
  int status = MPI_Iallgather(mine, bytes, MPI_BYTE, all, bytes, MPI_BYTE, job, &request);
  const auto begun = std::chrono::steady_clock::now();
  for (int done = 0; status == MPI_SUCCESS;) {
    status = MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) break;
    // Ranks that step together meet within a moment. A rank that waits for another's minutes of work leaves the processor to it.
    const auto waited = std::chrono::steady_clock::now() - begun;
    if (waited > std::chrono::milliseconds(100)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    else if (waited > std::chrono::microseconds(200)) std::this_thread::sleep_for(std::chrono::microseconds(20));
    else std::this_thread::yield();
  }
  return told(status, "MPI_Iallgather");
}

const char* exchange(const void* parts, void* received, int bytes_each) {
  return told(MPI_Alltoall(parts, bytes_each, MPI_BYTE, received, bytes_each, MPI_BYTE, job), "MPI_Alltoall");
}

const char* spread(void* all, int bytes_each) {
  return told(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, bytes_each, MPI_BYTE, job), "MPI_Allgather");
}

// MPI counts with ints.
constexpr size_t kMessage = size_t{1} << 30;

const char* broadcast(void* data, size_t bytes, int root) {
  for (size_t at = 0; at < bytes; at += kMessage) {
    const int count = static_cast<int>(std::min(kMessage, bytes - at));
    const int status = MPI_Bcast(static_cast<char*>(data) + at, count, MPI_BYTE, root, job);
    if (status != MPI_SUCCESS) return told(status, "MPI_Bcast");
  }
  return nullptr;
}

// Messages of one tag between two ranks arrive in the order in which they were sent.
const char* begin_shift(const void* send, void* receive, size_t bytes) {
  int rank = 0, size = 1;
  MPI_Comm_rank(ring, &rank);
  MPI_Comm_size(ring, &size);
  for (size_t at = 0; at < bytes; at += kMessage) {
    const int count = static_cast<int>(std::min(kMessage, bytes - at));
    MPI_Request arriving = MPI_REQUEST_NULL, leaving = MPI_REQUEST_NULL;
    int status = MPI_Irecv(static_cast<char*>(receive) + at, count, MPI_BYTE, (rank + size - 1) % size, 0, ring, &arriving);
    if (status != MPI_SUCCESS) return told(status, "MPI_Irecv");
    under_way.push_back(arriving);
    status = MPI_Isend(static_cast<const char*>(send) + at, count, MPI_BYTE, (rank + 1) % size, 0, ring, &leaving);
    if (status != MPI_SUCCESS) return told(status, "MPI_Isend");
    under_way.push_back(leaving);
  }
  return nullptr;
}

const char* wait() {
  std::vector<MPI_Request> all;
  all.swap(under_way);
  return told(MPI_Waitall(static_cast<int>(all.size()), all.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
}

const char* leave() {
  MPI_Comm_free(&ring);
  MPI_Comm_free(&job);
  return begun_here ? told(MPI_Finalize(), "MPI_Finalize") : nullptr;
}

void abort(int code) {
  // The launcher kills at once, and would not read any more what was just printed.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  MPI_Abort(job == MPI_COMM_NULL ? MPI_COMM_WORLD : job, code);
}

}  // namespace
}  // namespace larr

extern "C" __attribute__((visibility("default"))) const larr::MpiCalls* larr_mpi_calls(int version) {
  using namespace larr;
  static const MpiCalls calls{library, join, meet, exchange, spread, broadcast, begin_shift, wait, leave, abort};
  return version == kMpiCallsVersion ? &calls : nullptr;
}
