<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Command;

use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Fervo\DeferredEventBundle\Event\TryEvent;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;

/** @internal */
#[AsCommand(name: 'fervo:try', description: 'Defers an event that says in the worker\'s log that it has run')]
final class TryCommand extends Command
{
    public function __construct(private readonly DeferredEventQueueInterface $queue)
    {
        parent::__construct();
    }

    protected function configure(): void
    {
        $this->addOption('queue', null, InputOption::VALUE_REQUIRED, 'Into this queue, instead of the one of events that name none');
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $this->queue->deferEvent(new TryEvent((string) gethostname()), null, new DeferOptions(queue: $input->getOption('queue')));
        $output->writeln('An event is deferred. When it has run, the worker\'s log says "fervo:try"; where it waits: fervo-worker queues', OutputInterface::OUTPUT_RAW);

        return self::SUCCESS;
    }
}
