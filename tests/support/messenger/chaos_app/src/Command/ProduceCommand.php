<?php

declare(strict_types=1);

namespace App\Command;

use App\Message\Job;
use Doctrine\DBAL\Connection;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Messenger\MessageBusInterface;

/**
 * A producer whose database may die: dispatches a list of messages, which it reads as JSON, and tells of each name whether the
 * dispatch was confirmed. One that was not may be in the table all the same. It is dispatched anew by another name.
 */
#[AsCommand('app:produce')]
final class ProduceCommand extends Command
{
    public function __construct(private readonly MessageBusInterface $bus, private readonly Connection $connection)
    {
        parent::__construct();
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        foreach (json_decode(stream_get_contents(\STDIN), true, 512, \JSON_THROW_ON_ERROR) as ['name' => $name, 'action' => $action]) {
            for ($try = 0; !$this->isDispatched(new Job("$name.$try", 'php', $action), $output); ++$try) {
                $this->connection->close();
                usleep(50_000);
            }
        }

        return 0;
    }

    private function isDispatched(Job $job, OutputInterface $output): bool
    {
        try {
            $this->bus->dispatch($job);
        } catch (\Throwable) {
            $output->writeln("unconfirmed $job->name $job->action");

            return false;
        }
        $output->writeln("confirmed $job->name $job->action");

        return true;
    }
}
