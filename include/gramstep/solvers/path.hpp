// The parametric linear complementarity problem, by principal pivots: behind every method that is a
// quadratic program over an orthant or a simplex.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/rules/common.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1::solvers {

/// How a path came to its end.
enum class PathEnd {
  reached,     ///< the asked t, or no breakpoint is left
  stopped,     ///< by the caller's test
  indefinite,  ///< M has no positive definite part where one was needed, or pivots ran out
};

/// Follows the solution (z, y) of
///
///   y = M z + q0 + t q1,   y >= 0,   z >= 0,   y . z = 0
///
/// from t = -infinity, where z = 0, upwards. q1 <= 0, and q0 >= 0 where q1 is 0. M = matrix + ridge
/// I is symmetric positive definite, so that z is unique, continuous and piecewise linear in t.
///
/// For the passive set P, where z may differ from 0, the K functions (z_P, y_A) = alpha + beta t
/// are kept, and of the pivoted table only the columns that belong to y_P, one a slot:
/// M_PP^-1 over M_AP M_PP^-1. The smallest t at which one of the K functions falls to 0 is the next
/// breakpoint; its index goes in or out of P. A pivot takes 2 K |P| products where it enters, K |P|
/// where it leaves.
/// Every thread of the block holds the same passive, t and pivots.
struct Path {
  int tasks;
  double ridge;                                        // a lower bound of M's eigenvalues, > 0
  double* memory;                                      // [K, K], the matrix, for the caller to fill
  double* own = memory + std::int64_t{tasks} * tasks;  // [own_scratch(K)], with q0 and q1 to fill
  int passive = 0;                                     // |P|
  double t = -infinity;
  int pivots = 0;

  static constexpr int groups = 8;  // of the search for the next breakpoint
  GRAMSTEP_BOTH static constexpr std::int64_t own_scratch(int tasks) {
    return std::int64_t{tasks} * tasks + 9 * std::int64_t{tasks} + 2 * groups;
  }
  /// Of a path with its matrix.
  GRAMSTEP_BOTH static constexpr std::int64_t scratch(int tasks) {
    return std::int64_t{tasks} * tasks + own_scratch(tasks);
  }

  GRAMSTEP_BODY double* matrix() const { return memory; }  // [K, K]
  GRAMSTEP_BODY double* slot(int s) const { return own + s * tasks; }
  GRAMSTEP_BODY double* vector(int v) const { return own + (tasks + v) * tasks; }
  GRAMSTEP_BODY double* alpha() const { return vector(0); }
  GRAMSTEP_BODY double* beta() const { return vector(1); }
  GRAMSTEP_BODY double* column() const { return vector(2); }
  GRAMSTEP_BODY double* factor() const { return vector(3); }
  GRAMSTEP_BODY double* ratio() const { return vector(4); }
  GRAMSTEP_BODY double* members() const { return vector(5); }  // the index that each slot is of
  GRAMSTEP_BODY double* slots() const { return vector(6); }    // the slot of each index, or -1
  GRAMSTEP_BODY double* q0() const { return vector(7); }
  GRAMSTEP_BODY double* q1() const { return vector(8); }
  GRAMSTEP_BODY double* lowest() const { return vector(9); }           // [2, groups]: t, index
  GRAMSTEP_BODY double* end() const { return lowest() + 2 * groups; }  // of own

  /// The index in slot s.
  GRAMSTEP_BODY int member(int s) const { return static_cast<int>(members()[s]); }
  /// The slot of index i, which is_passive.
  GRAMSTEP_BODY int slot_of(int i) const { return static_cast<int>(slots()[i]); }
  GRAMSTEP_BODY bool is_passive(int i) const { return slots()[i] >= 0; }

  /// z = 0, t = -infinity. Reads q0 and q1, which a barrier must have made visible.
  template <class X>
  GRAMSTEP_BODY void start(const X& x) {
    t = -infinity;
    pivots = 0;
    clear(x);
  }

  /// Goes on to t_end, or to the end of the path where that is not met. stop(path, low, high) is
  /// asked for the stretch [low, high] between breakpoints and returns the t in it at which to
  /// stop, or infinity; every thread calls it, and it reads alpha and beta but writes nothing.
  template <class X, class Stop>
  GRAMSTEP_BODY PathEnd follow(const X& x, double t_end, const Stop& stop) {
    const int most_pivots = pivots + 10 * tasks + 100;
    GRAMSTEP_ROLLED
    while (true) {
      double next;
      const int index = breakpoint(x, next);
      const double asked = stop(*this, t, fmin(next, t_end));
      if (asked < infinity) {
        t = asked;
        return PathEnd::stopped;
      }
      if (next >= t_end) {
        if (t_end < infinity) t = t_end;
        return PathEnd::reached;
      }
      t = next;
      if (++pivots > most_pivots || !exchange(x, index)) return PathEnd::indefinite;
    }
  }

  /// Follows the path to t_end without a test.
  template <class X>
  GRAMSTEP_BODY PathEnd follow(const X& x, double t_end) {
    return follow(x, t_end, [](const Path&, double, double) { return infinity; });
  }

  /// z [K] = max(a alpha + b beta, 0) on the passive set, improved by one step of iterative
  /// refinement on M z = -(a q0 + b q1), and 0 elsewhere: (1, t) for the solution at t, (0, 1) for
  /// its direction. Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void solution(const X& x, double a, double b, double* z) const {
    for_each(x, tasks, [&](int i) { z[i] = is_passive(i) ? a * alpha()[i] + b * beta()[i] : 0.0; });
    x.sync();
    for_each(x, passive, [&](int s) {
      const int p = member(s);
      const double product = dot(matrix() + p * tasks, z, tasks) + ridge * z[p];
      factor()[s] = product + (a * q0()[p] + b * q1()[p]);
    });
    x.sync();
    for_each(x, tasks, [&](int i) {
      if (!is_passive(i)) return;
      const double correction = sum_of(passive, [&](int s) { return slot(s)[i] * factor()[s]; });
      z[i] = fmax(z[i] - correction, 0.0);
    });
    x.sync();
  }

 private:
  /// Begins and ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void clear(const X& x) {
    x.sync();
    passive = 0;
    for_each(x, tasks, [&](int i) {
      alpha()[i] = q0()[i];
      beta()[i] = q1()[i];
      slots()[i] = -1;
    });
    x.sync();
  }

  /// The smallest t at which a function falls to 0, and its index; infinity where none falls. Ends
  /// with a barrier but for the last reads, which the next pivot's barrier follows.
  template <class X>
  GRAMSTEP_BODY int breakpoint(const X& x, double& next) const {
    for_each(x, tasks, [&](int i) {
      const double crossing = -alpha()[i] / beta()[i];  // ternaries: a call of fmax is not inlined
      const double after_t = crossing > t ? crossing : t;
      ratio()[i] = beta()[i] < 0 ? after_t : infinity;
    });
    x.sync();
    for_each(x, groups, [&](int g) {
      double low = infinity;
      int at = 0;
      GRAMSTEP_ROLLED
      for (int i = g; i < tasks; i += groups) {
        if (ratio()[i] < low) {
          low = ratio()[i];
          at = i;
        }
      }
      lowest()[g] = low;
      lowest()[groups + g] = at;
    });
    x.sync();
    int first = 0;
    next = lowest()[0];
    for (int g = 1; g < groups; ++g) {
      const double low = lowest()[g];
      if (low < next) {
        next = low;
        first = g;
      }
    }
    return static_cast<int>(lowest()[groups + first]);
  }

  /// Moves index p into or out of the passive set. False where M turned out not to be positive
  /// definite.
  template <class X>
  GRAMSTEP_BODY bool exchange(const X& x, int p) {
    int turns = 1;
    const bool rebuild = is_passive(p) && ill_conditioned(slot(slot_of(p))[p]);
    if (rebuild) {  // takes p out of its slot, and computes the table anew from M
      const int s = slot_of(p);
      turns = passive - 1;
      x.sync();
      if (x.thread() == 0) members()[s] = members()[turns];
      clear(x);
    }
    GRAMSTEP_ROLLED
    for (int turn = 0; turn < turns; ++turn) {
      if (!pivot_on(x, rebuild ? member(turn) : p)) return false;
    }
    return true;
  }

  /// Whether what is left of the others when a row goes out of P, whose diagonal entry this is,
  /// would be mostly rounding.
  GRAMSTEP_BODY static bool ill_conditioned(double diagonal) {
    return !(diagonal > 0 && diagonal <= 1e6);
  }

  /// The pivot on (p, p). Puts p in the first free slot, or takes it out of its slot and moves the
  /// last one there.
  template <class X>
  GRAMSTEP_BODY bool pivot_on(const X& x, int p) {
    const bool entering = !is_passive(p);
    const int s = entering ? passive : slot_of(p);
    if (entering) {
      compute_column(x, matrix() + p * tasks);
    } else {
      for_each(x, tasks, [&](int i) { column()[i] = slot(s)[i]; });
    }
    x.sync();
    const double diagonal = entering ? column()[p] + ridge : column()[p];
    if (!(diagonal >= 0.5 * ridge)) return false;  // the ridge is the lower bound where p enters
    const double inverse = 1.0 / diagonal;
    const double new_alpha = -alpha()[p] * inverse;
    const double new_beta = -beta()[p] * inverse;
    for_each(x, passive, [&](int r) { factor()[r] = -slot(r)[p] * inverse; });
    x.sync();
    const int last = passive - 1;
    const double* c = column();
    if (alone(x)) {
      for (int r = 0; r < passive; ++r) add(c, factor()[r], p, slot(r));
      add(c, new_alpha, p, alpha());
      add(c, new_beta, p, beta());
      for (int i = 0; !entering && i < tasks; ++i) slot(s)[i] = slot(last)[i];
    } else {
      add_to_slots(x, p, s, entering ? passive : last);
      for_each(x, tasks, [&](int i) {
        alpha()[i] = i == p ? new_alpha : alpha()[i] + c[i] * new_alpha;
        beta()[i] = i == p ? new_beta : beta()[i] + c[i] * new_beta;
      });
    }
    if (entering) {
      for_each(x, tasks, [&](int i) { slot(s)[i] = i == p ? inverse : c[i] * inverse; });
    }
    if (x.thread() == 0) {
      const int member_of_s = entering ? p : member(last);
      members()[s] = member_of_s;
      slots()[member_of_s] = s;
      if (!entering) slots()[p] = -1;
    }
    passive += entering ? 1 : -1;
    x.sync();
    return true;
  }

  /// slot(r) += factor_r c for every slot but s, which is given the sums of slot `moved`; f for
  /// element p. Four slots at a time: all of a thread's loads come before its first store.
  template <class X>
  GRAMSTEP_BODY void add_to_slots(const X& x, int p, int s, int moved) const {
    constexpr int together = 4;
    for_elements(x, (passive + together - 1) / together, tasks, [&](int group, int i) {
      const int first = group * together;
      const int count = passive - first < together ? passive - first : together;
      double sums[together] = {};
      for (int k = 0; k < count; ++k) {
        const int r = first + k;
        const double f = factor()[r];
        if (r != s) sums[k] = i == p ? f : slot(r)[i] + column()[i] * f;
      }
      for (int k = 0; k < count; ++k) {
        const int r = first + k;
        if (r != s) slot(r == moved ? s : r)[i] = sums[k];
      }
    });
  }

  /// row += f c, but for element p, which becomes f; one thread's own, and vectorised.
  GRAMSTEP_BODY void add(const double* c, double f, int p, double* row) const {
    const double* __restrict from = c;
    double* __restrict to = row;
    for (int i = 0; i < tasks; ++i) to[i] += from[i] * f;
    to[p] = f;
  }

  /// column() = row of M, 0 where passive, less M_Pp times the slots.
  template <class X>
  GRAMSTEP_BODY void compute_column(const X& x, const double* row) const {
    if (alone(x)) {
      compute_column(row);
      return;
    }
    for_each(x, tasks, [&](int i) {
      double c = is_passive(i) ? 0.0 : row[i];
      int s = 0;
      GRAMSTEP_ROLLED
      for (; s + 4 <= passive; s += 4) {  // the loads of four at a time, in the same order
        c = c - row[member(s)] * slot(s)[i] - row[member(s + 1)] * slot(s + 1)[i] -
            row[member(s + 2)] * slot(s + 2)[i] - row[member(s + 3)] * slot(s + 3)[i];
      }
      GRAMSTEP_ROLLED
      for (; s < passive; ++s) c -= row[member(s)] * slot(s)[i];
      column()[i] = c;
    });
  }

  /// The same; one thread's own, and vectorised.
  GRAMSTEP_BODY void compute_column(const double* row) const {
    double* __restrict c = column();
    const double* __restrict m = row;
    for (int i = 0; i < tasks; ++i) c[i] = is_passive(i) ? 0.0 : m[i];
    int s = 0;
    for (; s + 4 <= passive; s += 4) {  // four at a time, in the same order, to store less
      const double* __restrict s0 = slot(s);
      const double* __restrict s1 = slot(s + 1);
      const double* __restrict s2 = slot(s + 2);
      const double* __restrict s3 = slot(s + 3);
      const double m0 = m[member(s)], m1 = m[member(s + 1)];
      const double m2 = m[member(s + 2)], m3 = m[member(s + 3)];
      for (int i = 0; i < tasks; ++i) {
        c[i] = c[i] - m0 * s0[i] - m1 * s1[i] - m2 * s2[i] - m3 * s3[i];
      }
    }
    for (; s < passive; ++s) {
      const double* __restrict of_s = slot(s);
      const double m0 = m[member(s)];
      for (int i = 0; i < tasks; ++i) c[i] -= m0 * of_s[i];
    }
  }
};

/// Runs attempt() with path.ridge as it is; while that returns false, with a ridge ten times as
/// large, up to 1e-2. A Gram matrix summed from fp32 products may have eigenvalues a little below
/// 0. Returns how many pivots there were in all.
template <class Attempt>
GRAMSTEP_BODY int with_enough_ridge(Path& path, const Attempt& attempt) {
  int pivots = 0;
  constexpr double largest = 1e-2, growth = 10;
  GRAMSTEP_ROLLED
  while (true) {
    const bool done = attempt();
    pivots += path.pivots;
    if (done || path.ridge * growth > largest) return pivots;
    path.ridge *= growth;
  }
}

}  // namespace gramstep::inline v1::solvers
