<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Command;

use Fervo\DeferredEventBundle\Worker\JobRunner;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\ConsoleOutputInterface;
use Symfony\Component\Console\Output\OutputInterface;

/** @internal */
#[AsCommand(name: 'fervo:deferred-event:dispatch', description: 'Runs one deferred event, for fervo-worker\'s process executor')]
final class DispatchCommand extends Command
{
    /** Beside 0 (done) and 1 (failed, and runs again). */
    public const EXIT_BURY = 100;

    public function __construct(private readonly JobRunner $runner)
    {
        parent::__construct();
    }

    protected function configure(): void
    {
        $this
            ->addArgument('payload', InputArgument::OPTIONAL, 'The payload; "-" reads it from STDIN', '-')
            ->setHelp(<<<'TXT'
                Dispatches the event of one payload, as the front controller does on PHP-FPM, but in a process of its own.

                Exit codes: <info>0</info> done, <info>1</info> failed, and runs again, <info>100</info> failed for good. In fervo-worker.toml:

                    [processes.symfony]
                    command = ["php", "/srv/app/bin/console", "fervo:deferred-event:dispatch", "-"]
                    [processes.symfony.exit_codes]
                    100 = "bury"

                A process cannot say how long to wait before the next attempt.
                TXT);
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $payload = $input->getArgument('payload');
        $hasEnded = false;
        self::failUnless($hasEnded);
        $job = Job::fromParams($_SERVER, '-' === $payload ? (string) stream_get_contents(\STDIN) : $payload);
        // An exit code cannot have the copy of a message: Messenger sends it.
        $outcome = $this->runner->run($job, mayReplace: false);
        $hasEnded = true;
        if (null !== $outcome->error) {
            ($output instanceof ConsoleOutputInterface ? $output->getErrorOutput() : $output)
                ->writeln($outcome->kind.': '.$outcome->error, OutputInterface::OUTPUT_RAW);
        }

        return match ($outcome->kind) {
            Outcome::ACK, Outcome::HANDLED => self::SUCCESS,
            Outcome::BURY => self::EXIT_BURY,
            // An exit code says no more than that it is to run again.
            default => self::FAILURE,
        };
    }

    /** What is done says so: an exit() of a listener, whose code is 0 or any other, does not. */
    private static function failUnless(bool &$hasEnded): void
    {
        $fail = static function () use (&$hasEnded): void {
            if (!$hasEnded) {
                exit(self::FAILURE);
            }
        };
        // Behind all others, which would not run any more; also behind the outbox, which is the last one but this.
        register_shutdown_function(static fn () => register_shutdown_function(static fn () => register_shutdown_function($fail)));
    }
}
