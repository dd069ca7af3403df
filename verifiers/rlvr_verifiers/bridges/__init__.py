"""Reward functions of other trainers as verifiers here, and verifiers as reward functions there.

In, by the verifier's name in a task record (`module` may be a path ending in .py):

    trl:module:function         fn(prompts, completions, **columns) -> list[float | None], of the whole group
    verl:module:function        compute_score(data_source, solution_str, ground_truth, extra_info) -> float | dict
    trl:module:Class            an environment class with get_reward(); the same as the task's environment
    verifiers:module:target     a rubric, a load_environment() or one function called by argument name (version 0)
    prime_process:VerifiersEnv  an environment of `verifiers`, version 0 or 1, in an interpreter of its own; made by the task source
    openai_grader               an OpenAI grader, as JSON in verifier_args

Out, in one line each: `bridges.trl.reward_function("math")` and `bridges.verl.compute_score_of("math")`.
"""
