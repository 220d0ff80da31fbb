<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Command;

use Fervo\DeferredEventBundle\Messenger\Config\PoolFile;
use Fervo\DeferredEventBundle\Messenger\Config\WorkerConfig;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Exception\InvalidOptionException;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;

/** @internal */
#[AsCommand(name: 'fervo:worker:config', description: 'Prints a fervo-worker.toml for the transports of Messenger, or the php-fpm pool for it')]
final class WorkerConfigCommand extends Command
{
    private const DEFAULT_ADDRESS = '/run/php/fervo.sock';

    public function __construct(private readonly WorkerConfig $config, private readonly FrontControllerCommand $frontController)
    {
        parent::__construct();
    }

    protected function configure(): void
    {
        $this
            ->addOption('fpm', null, InputOption::VALUE_REQUIRED, 'The socket of the php-fpm pool, an absolute path', self::DEFAULT_ADDRESS)
            ->addOption('pool', null, InputOption::VALUE_NONE, 'Print the configuration of that pool, with the PHP settings of this command line')
            ->addOption('user', null, InputOption::VALUE_REQUIRED, 'With --pool: the user of the pool and of the worker', 'www-data')
            ->addOption('children', null, InputOption::VALUE_REQUIRED, 'With --pool: the number of PHP processes, as many as "concurrency" of all consumers together', '4');
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $address = (string) $input->getOption('fpm');
        if (1 !== preg_match('~^/[A-Za-z0-9_@+=:,./-]+$~', $address)) {
            throw new InvalidOptionException(\sprintf('--fpm "%s" is not the absolute path of a socket. Messages of Messenger need a pool with a unix socket: the worker ends the PHP process of a message whose time is over.', $address));
        }
        if (!$input->getOption('pool')) {
            $output->write($this->config->write($address, $this->frontController->path()), false, OutputInterface::OUTPUT_RAW);

            return self::SUCCESS;
        }
        $user = (string) $input->getOption('user');
        if (1 !== preg_match('/^[A-Za-z_][A-Za-z0-9_.-]*$/', $user)) {
            throw new InvalidOptionException(\sprintf('--user "%s" is not the name of a user.', $user));
        }
        $children = (string) $input->getOption('children');
        if (1 !== preg_match('/^[1-9]\d{0,4}$/', $children)) {
            throw new InvalidOptionException(\sprintf('--children "%s" is not a number of at least 1.', $children));
        }
        $output->write(PoolFile::write($address, $user, (int) $children, self::startValue(...)), false, OutputInterface::OUTPUT_RAW);

        return self::SUCCESS;
    }

    /** A setting as PHP has started with it: the application may have changed it since. */
    private static function startValue(string $name): ?string
    {
        $all = ini_get_all(null, true);

        return isset($all[$name]) ? (string) $all[$name]['global_value'] : null;
    }
}
