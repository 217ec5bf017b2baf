// The kernels' threads and the addon's: what they promise each other, under as many callers as there are. ThreadSanitizer runs this too.
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

#include "../addon/runners.h"
#include "../device/idle.h"
#include "../device/threads.h"
#include "checks.h"

namespace larr::test {
namespace {

using namespace std::chrono_literals;

void check_parallel() {
  // Every task once, from several callers at once, and from inside a task.
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; t++)
    callers.emplace_back([&] {
      for (int round = 0; round < 50; round++) {
        std::vector<int> done(37, 0);  // plain: parallel() itself must order what tasks wrote before its return
        parallel(37, [&](int i) {
          std::array<int, 5> inner{};
          parallel(5, [&](int j) { inner[size_t(j)]++; });
          done[size_t(i)] += inner[0] + inner[4];
        });
        for (int d : done) wrong += d != 2;
      }
    });
  for (auto& caller : callers) caller.join();
  expect(wrong == 0, "parallel() left out or repeated a task");

  std::atomic<int> ran{0};
  bool thrown = false;
  try {
    parallel(1000, [&](int i) {
      ran++;
      if (i == 3) throw std::runtime_error("three");
      std::this_thread::sleep_for(50us);
    });
  } catch (const std::runtime_error& e) {
    thrown = std::string(e.what()) == "three";
  }
  expect(thrown && ran < 1000, "a task's exception did not end the others and reach the caller");

  std::atomic<bool> cancel{false};
  ran = 0;
  thrown = false;
  try {
    parallel(
        1000,
        [&](int i) {
          ran++;
          if (i == 5) cancel = true;
          std::this_thread::sleep_for(50us);
        },
        &cancel);
  } catch (const Cancelled&) {
    thrown = true;
  }
  expect(thrown && ran < 1000, "cancelling in the middle did not end the call");
}

// What a call of the addon is to its environment: cancelled and waited for when that ends, and gone right after.
struct Probe final : addon::Task {
  std::atomic<bool>& cancel;
  int* alive;  // of the environment: plain memory that is freed after wait()
  bool has_run = false;
  Probe(std::atomic<bool>& cancel, int* alive) : cancel(cancel), alive(alive) {}
  void run() noexcept override {
    for (int i = 0; i < 200 && !cancel; i++) std::this_thread::sleep_for(10us);
    has_run = true;
  }
  void ended() noexcept override { (*alive)++; }
};

void check_runners() {
  std::atomic<int> wrong{0};
  std::vector<std::thread> environments;
  for (int t = 0; t < 4; t++)
    environments.emplace_back([&, t] {
      for (int round = 0; round < 20; round++) {
        auto giver = std::make_unique<addon::Giver>();
        auto alive = std::make_unique<int>(0);
        std::atomic<bool> cancel{false};
        std::vector<std::unique_ptr<Probe>> tasks;
        for (int i = 0; i < 8; i++) {
          tasks.push_back(std::make_unique<Probe>(cancel, alive.get()));
          giver->start(*tasks.back());
        }
        if ((round + t) % 2) std::this_thread::sleep_for(100us);
        cancel = true;
        giver->wait();
        wrong += *alive != 8;
        for (const auto& task : tasks) wrong += !task->has_run;
        giver->wait();  // nothing under way: at once
      }
    });
  for (auto& environment : environments) environment.join();
  expect(wrong == 0, "the addon's threads lost a task, or wait() returned before its end");
}

void check_idle() {
  // As many as were ever in use at once, each in one pair of hands, and of the kind asked for.
  struct Session {
    int device, uses = 0;
  };
  Idle<Session> idle;
  std::atomic<int> made{0}, uses{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; t++)
    callers.emplace_back([&, t] {
      for (int i = 0; i < 300; i++) {
        auto session = idle.take([&](const Session& s) { return s.device == t % 2; });
        if (!session) session = std::make_unique<Session>(Session{t % 2}), made++;
        session->uses++;
        if (session->device == t % 2) idle.give(std::move(session));
      }
    });
  for (auto& caller : callers) caller.join();
  while (const auto session = idle.take()) uses += session->uses, made--;
  expect(made == 0 && uses == 1200, "an idle session was lost or used by two at once");
}

void check_callers_and_cancel() {
  // Several callers at once, each its own problem; one call cancelled before it begins.
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 3; t++)
    callers.emplace_back([t, &wrong] {
      Random random(uint64_t(40 + t));
      std::vector<float> q(200 * 32), k(q.size());
      for (auto* m : {&q, &k})
        for (float& x : *m) x = float(random.normal());
      InfoNce p;
      p.q = q.data(), p.k = k.data(), p.batch = 200, p.dim = 32;
      double first = 0;
      for (int i = 0; i < 6; i++) {
        std::vector<float> dq(q.size()), dk(q.size());
        InfoNceOut out;
        out.dq = dq.data(), out.dk = dk.data();
        infonce(p, out);
        if (i == 0) first = out.loss;
        if (out.loss != first) wrong++;
      }
    });
  for (auto& caller : callers) caller.join();
  expect(wrong == 0, "one of several callers got another loss");
  std::atomic<bool> cancel{true};
  std::vector<float> q(600 * 32, 0.5f);
  InfoNce p;
  p.q = q.data(), p.k = q.data(), p.batch = 600, p.dim = 32;
  InfoNceOut out;
  bool thrown = false;
  try {
    infonce(p, out, {.cancel = &cancel});
  } catch (const Cancelled&) {
    thrown = true;
  }
  expect(thrown, "a cancelled call went on");

  // Cancelled from outside at any moment: either it has finished or it says so, and it ends.
  std::vector<float> dq(q.size()), dk(q.size());
  out.dq = dq.data(), out.dk = dk.data();
  for (int delay = 0; delay < 40; delay++) {
    cancel = false;
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(25 * delay));
      cancel = true;
    });
    try {
      infonce(p, out, {.cancel = &cancel});
    } catch (const Cancelled&) {
    }
    canceller.join();
  }
}

}  // namespace

void check_threads() {
  check_parallel();
  check_runners();
  check_idle();
  check_callers_and_cancel();
}

}  // namespace larr::test
