//! The flow-matching Euler schedule (Esser et al., 2024; diffusers'
//! `FlowMatchEulerDiscreteScheduler` with a fixed shift).
//!
//! A latent at noise level σ is (1−σ)·clean + σ·noise; the network predicts the velocity
//! noise − clean, and a step from σ to σ' adds (σ'−σ)·velocity.

use super::config::SchedulerConfig;

/// Noise levels from pure noise down to none.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowMatchSchedule {
    sigmas: Vec<f32>,
    timestep_max: f32,
}

impl FlowMatchSchedule {
    /// A schedule of `steps` steps, at least 1: `steps + 1` noise levels, the last of which is 0.
    ///
    /// Levels are even between the training schedule's ends, which are shifted already, and then
    /// shifted again: so does the reference.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Self {
        let steps = steps.max(1);
        let n = f64::from(config.num_train_timesteps);
        // The reference holds the ends as float32.
        let highest = f64::from(shifted(1.0, config.shift) as f32) * n;
        let lowest = f64::from(shifted(1.0 / n, config.shift) as f32) * n;
        let gap = (lowest - highest) / (steps.max(2) - 1) as f64;
        let level = |i: usize| shifted((highest + gap * i as f64) / n, config.shift) as f32;
        let sigmas = (0..steps).map(level).chain([0.0]).collect();
        Self { sigmas, timestep_max: n as f32 }
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.sigmas.len() - 1
    }

    /// Noise level before step `step` (counted from 0); behind the last step it is 0.
    pub fn sigma(&self, step: usize) -> f64 {
        f64::from(self.sigmas[step])
    }

    /// What the network is told at each step: the noise level times the number of training
    /// timesteps, in float32.
    pub fn timesteps(&self) -> Vec<f32> {
        self.sigmas[..self.steps()].iter().map(|sigma| sigma * self.timestep_max).collect()
    }
}

/// sσ / (1 + (s−1)σ), which moves noise levels towards noise for a shift s above 1.
pub fn shifted(sigma: f64, shift: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_falls_from_pure_noise_to_none() {
        let schedule = FlowMatchSchedule::new(&SHIFTED, 28);
        assert_eq!(schedule.steps(), 28);
        assert_eq!((schedule.sigmas[0], schedule.sigmas[28]), (1.0, 0.0));
        assert!(schedule.sigmas.windows(2).all(|pair| pair[0] > pair[1]));
    }

    /// `FlowMatchEulerDiscreteScheduler(shift=3.0).set_timesteps(4)` of diffusers 0.42.1.
    #[test]
    fn noise_levels_are_those_of_the_reference() {
        let schedule = FlowMatchSchedule::new(&SHIFTED, 4);
        assert_eq!(schedule.sigmas, REFERENCE);
        assert_eq!(schedule.timesteps(), [1000.0, 857.692_3, 602.150_6, 8.928_572]);
        assert_eq!(FlowMatchSchedule::new(&SHIFTED, 1).sigmas, [1.0, 0.0]);
    }

    const SHIFTED: SchedulerConfig = SchedulerConfig { num_train_timesteps: 1000, shift: 3.0 };
    const REFERENCE: [f32; 5] = [1.0, 0.857_692_3, 0.602_150_56, 0.008_928_572, 0.0];
}
