<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Command;

use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Worker\Relay;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Console\Style\SymfonyStyle;

/** @internal */
#[AsCommand(name: 'fervo:relay', description: 'Moves deferred events from the database to the queue')]
final class RelayCommand extends Command
{
    private const PAUSE_US = 500_000;
    private const LONGEST_PAUSE_US = 30_000_000;

    private bool $isStopped = false;

    public function __construct(private readonly Relay $relay)
    {
        parent::__construct();
    }

    protected function configure(): void
    {
        $this
            ->addOption('create-table', null, InputOption::VALUE_NONE, 'Make the table, unless it is there, and end')
            ->addOption('watch', null, InputOption::VALUE_NONE, 'Go on until SIGTERM or SIGINT')
            ->setHelp(<<<'TXT'
                With <info>send: transactional</info>, deferred events are written into a table of your own database, in your own
                transactions. This command moves them to the queue, until there are no more.

                fervo-worker can run it, without any process of its own, by a schedule:

                    [[schedule]]
                    name = "relay"
                    queue = "default"
                    every_ms = 1000
                    payload = "fervo:relay"
                TXT);
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $io = new SymfonyStyle($input, $output);
        if ($input->getOption('create-table')) {
            $this->relay->createTable();
            $io->success('The table is there.');

            return self::SUCCESS;
        }

        if ($input->getOption('watch')) {
            $this->stopAtSignals();
        }
        $pauseUs = self::PAUSE_US;
        do {
            try {
                $moved = $this->relay->run();
                if ($moved > 0) {
                    $io->writeln(sprintf('%d events moved', $moved), OutputInterface::VERBOSITY_VERBOSE);
                }
                $pauseUs = self::PAUSE_US;
            } catch (SendFailedException $failure) {
                $io->getErrorStyle()->error($failure->getMessage());
                if (!$input->getOption('watch')) {
                    return self::FAILURE;
                }
                $pauseUs = min(2 * $pauseUs, self::LONGEST_PAUSE_US);
            }
            if ($input->getOption('watch') && !$this->isStopped) {
                // A signal ends the pause.
                usleep($pauseUs);
            }
        } while ($input->getOption('watch') && !$this->isStopped);

        return self::SUCCESS;
    }

    /** A batch that has begun is moved to its end. (Symfony's own way differs between its versions.) */
    private function stopAtSignals(): void
    {
        if (!\function_exists('pcntl_signal')) {
            return;
        }
        pcntl_async_signals(true);
        foreach ([\SIGTERM, \SIGINT] as $signal) {
            pcntl_signal($signal, function (): void {
                $this->isStopped = true;
            });
        }
    }
}
