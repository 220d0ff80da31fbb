<?php

declare(strict_types=1);

namespace App\Command;

use App\Event\FooActionEvent;
use App\Message\FooMessage;
use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Event\DeferEvent;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Contracts\EventDispatcher\EventDispatcherInterface;

/** One of each: the benchmark copies them in Redis. */
#[AsCommand('bench:push')]
final class PushCommand extends Command
{
    public function __construct(
        private readonly EventDispatcherInterface $dispatcher,
        private readonly MessageBusInterface $bus,
    ) {
        parent::__construct();
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        // An event that fails is to end the benchmark, not to be tried again.
        $this->dispatcher->dispatch(new DeferEvent('foo.action', new FooActionEvent(), new DeferOptions(attempts: 1)));
        $this->bus->dispatch(new FooMessage());

        return self::SUCCESS;
    }
}
