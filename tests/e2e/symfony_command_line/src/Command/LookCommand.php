<?php

declare(strict_types=1);

namespace App\Command;

use App\Message\ForConsume;
use App\Message\ForWorker;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Messenger\MessageBusInterface;

#[AsCommand(name: 'app:look')]
final class LookCommand extends Command
{
    public function __construct(private readonly MessageBusInterface $bus)
    {
        parent::__construct();
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $this->bus->dispatch(new ForConsume());
        $this->bus->dispatch(new ForWorker());

        return self::SUCCESS;
    }
}
