//! Small symmetric positive definite systems, with plain and with non-negative solutions.

use serde::{Deserialize, Serialize};

/// A gradient above this part of the right side frees a variable.
const TOLERANCE: f64 = 1e-9;

/// A symmetric matrix, of which the lower triangle is kept, row by row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Symmetric {
    lower: Vec<f64>,
}

impl Symmetric {
    pub(crate) fn zero(size: usize) -> Self {
        Self { lower: vec![0.0; size * (size + 1) / 2] }
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        let (row, column) = (row.max(column), row.min(column));
        self.lower[row * (row + 1) / 2 + column]
    }

    /// Adds `weight · x xᵀ`.
    pub(crate) fn add_square(&mut self, x: &[f64], weight: f64) {
        let mut rest = self.lower.as_mut_slice();
        for (row, value) in x.iter().enumerate() {
            let Some((line, below)) = rest.split_at_mut_checked(row + 1) else { return };
            rest = below;
            let value = weight * value;
            if value != 0.0 {
                line.iter_mut().zip(x).for_each(|(sum, x)| *sum += value * x);
            }
        }
    }

    pub(crate) fn scale(&mut self, by: f64) {
        self.lower.iter_mut().for_each(|x| *x *= by);
    }

    /// Multiplies a column, and the row that is the same.
    pub(crate) fn scale_column(&mut self, column: usize, by: f64) {
        for place in 0..self.size() {
            let (row, other) = (place.max(column), place.min(column));
            // Where they cross it is both.
            let by = if row == other { by * by } else { by };
            self.lower[row * (row + 1) / 2 + other] *= by;
        }
    }

    /// `by · D self D` with `units` on the diagonal of D.
    pub(crate) fn scaled(&self, units: &[f64], by: f64) -> Self {
        let rows = units.iter().enumerate();
        let scale = rows.flat_map(|(row, unit)| units[..=row].iter().map(move |u| by * unit * u));
        Self { lower: self.lower.iter().zip(scale).map(|(x, scale)| x * scale).collect() }
    }

    pub(crate) fn plus_identity(mut self) -> Self {
        for row in 0..self.size() {
            self.lower[row * (row + 1) / 2 + row] += 1.0;
        }
        self
    }

    /// `xᵀ self x`.
    pub(crate) fn quadratic(&self, x: &[f64]) -> f64 {
        (0..x.len()).map(|row| x[row] * self.times(row, x)).sum()
    }

    /// The largest sum of absolute values in a column.
    pub(crate) fn norm(&self) -> f64 {
        let size = self.size();
        let sums = (0..size).map(|j| (0..size).map(|i| self.at(i, j).abs()).sum());
        sums.fold(0.0, f64::max)
    }

    /// The inverse, of a positive definite one.
    pub(crate) fn inverse(&self) -> Self {
        let size = self.size();
        let all: Vec<usize> = (0..size).collect();
        let factor = Factor::of(self, &all);
        let mut inverse = Self::zero(size);
        for column in 0..size {
            let mut unit = vec![0.0; size];
            unit[column] = 1.0;
            let solved = factor.solve(unit);
            for (row, value) in solved.iter().enumerate().skip(column) {
                inverse.lower[row * (row + 1) / 2 + column] = *value;
            }
        }
        inverse
    }

    fn size(&self) -> usize {
        (0..).find(|size| size * (size + 1) / 2 >= self.lower.len()).unwrap_or(0)
    }

    /// One row of `self x`.
    pub(crate) fn times(&self, row: usize, x: &[f64]) -> f64 {
        x.iter().enumerate().map(|(column, x)| self.at(row, column) * x).sum()
    }
}

/// Cholesky's factor of some rows and columns, row by row.
struct Factor {
    rows: Vec<Vec<f64>>,
}

impl Factor {
    fn of(matrix: &Symmetric, places: &[usize]) -> Self {
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(places.len());
        for (i, place) in places.iter().enumerate() {
            let mut row = Vec::with_capacity(i + 1);
            for (other, column) in rows.iter().zip(places) {
                let known: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.push((matrix.at(*place, *column) - known) / other[row.len()]);
            }
            let known: f64 = row.iter().map(|x| x * x).sum();
            // Rounding may leave a hair less than nothing.
            row.push((matrix.at(*place, *place) - known).max(f64::MIN_POSITIVE).sqrt());
            rows.push(row);
        }
        Self { rows }
    }

    fn solve(&self, mut x: Vec<f64>) -> Vec<f64> {
        for (i, row) in self.rows.iter().enumerate() {
            let known: f64 = row.iter().zip(&x[..i]).map(|(a, b)| a * b).sum();
            x[i] = (x[i] - known) / row[i];
        }
        for (i, row) in self.rows.iter().enumerate().rev() {
            x[i] /= row[i];
            let value = x[i];
            x[..i].iter_mut().zip(row).for_each(|(x, a)| *x -= a * value);
        }
        x
    }
}

/// The `x` with nothing below zero for which `xᵀ matrix x / 2 − right · x` is least, by the active set
/// method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23) from a `start` that has
/// nothing below zero either.
pub(crate) fn non_negative(matrix: &Symmetric, right: &[f64], start: Vec<f64>) -> Vec<f64> {
    let mut x = start;
    let mut free: Vec<bool> = x.iter().map(|x| *x > 0.0).collect();
    // It ends by itself; rounding could make it go round in circles.
    for _ in 0..4 * x.len() + 4 {
        let places: Vec<usize> = (0..x.len()).filter(|place| free[*place]).collect();
        let of_free = places.iter().map(|place| right[*place]).collect();
        let best = Factor::of(matrix, &places).solve(of_free);
        let falls = || places.iter().zip(&best).filter(|(_, best)| **best <= 0.0);
        let way = falls().map(|(place, best)| x[*place] / (x[*place] - best)).reduce(f64::min);
        for (place, best) in places.iter().zip(&best) {
            x[*place] += way.unwrap_or(1.0) * (best - x[*place]);
        }
        if way.is_some() {
            let ends = falls().map(|(place, _)| *place).min_by(|a, b| x[*a].total_cmp(&x[*b]));
            for place in places {
                if x[place] <= 0.0 || Some(place) == ends {
                    (x[place], free[place]) = (0.0, false);
                }
            }
            continue;
        }
        let steepest = (0..x.len())
            .filter(|place| !free[*place])
            .map(|place| (place, right[place] - matrix.times(place, &x), right[place].abs()))
            .filter(|(_, gradient, size)| *gradient > TOLERANCE * (1.0 + size))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((place, ..)) = steepest else { break };
        free[place] = true;
    }
    x
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows whose squares make a matrix, and a right side.
    fn system() -> impl Strategy<Value = (Vec<Vec<f64>>, Vec<f64>)> {
        (1_usize..7).prop_flat_map(|size| {
            let row = prop::collection::vec(-10.0..10.0, size);
            (prop::collection::vec(row, 1..12), prop::collection::vec(-50.0..50.0, size))
        })
    }

    fn matrix(rows: &[Vec<f64>]) -> Symmetric {
        let mut sum = Symmetric::zero(rows[0].len());
        rows.iter().for_each(|row| sum.add_square(row, 1.0));
        sum.plus_identity()
    }

    proptest! {
        /// The conditions of Karush, Kuhn and Tucker, which only the solution meets.
        #[test]
        fn what_is_found_is_least(
            (rows, right) in system(),
            start in prop::collection::vec(0.0..5.0, 6),
        ) {
            let matrix = matrix(&rows);
            let x = non_negative(&matrix, &right, start[..right.len()].to_vec());
            for (place, value) in x.iter().enumerate() {
                let gradient = right[place] - matrix.times(place, &x);
                prop_assert!(*value >= 0.0);
                prop_assert!(gradient < 1e-6, "{place}: {gradient}");
                prop_assert!(*value <= 0.0 || gradient > -1e-6, "{place}: {gradient}");
            }
        }

        #[test]
        fn the_inverse_is_one((rows, _) in system()) {
            let (matrix, size) = (matrix(&rows), rows[0].len());
            let inverse = matrix.inverse();
            for i in 0..size {
                let column: Vec<f64> = (0..size).map(|j| inverse.at(i, j)).collect();
                for j in 0..size {
                    let product = matrix.times(j, &column);
                    prop_assert!((product - f64::from(u8::from(i == j))).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn the_condition_is_that_of_the_norm() {
        // [[2, 1], [1, 2]] has the norm 3 and the inverse [[2, −1], [−1, 2]] / 3, whose norm is 1.
        let mut matrix = Symmetric::zero(2);
        matrix.add_square(&[1.0, 1.0], 1.0);
        let matrix = matrix.plus_identity();
        assert!((matrix.norm() * matrix.inverse().norm() - 3.0).abs() < 1e-12);
    }
}
