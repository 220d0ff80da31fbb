<?php

declare(strict_types=1);

use App\Command\ReportCommand;
use App\Handler\DoItems;
use App\Handler\DoSigned;
use App\Handler\DoTask;
use App\Handler\First;
use App\Handler\Ledger;
use App\Handler\Second;
use App\Message\Item;
use App\Message\Pair;
use App\Message\Signed;
use App\Message\Task;
use App\Messenger\SendersByMessage;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service;
use function Symfony\Component\DependencyInjection\Loader\Configurator\service_locator;

return static function (ContainerConfigurator $container): void {
    $services = $container->services()->defaults()->autowire()->autoconfigure();
    $services->load('App\Command\\', '../src/Command/');
    $php = service('messenger.transport.native_php_serializer');
    $json = service('messenger.transport.symfony_serializer');
    $services->set(ReportCommand::class)->args(['$serializers' => ['default' => $php, 'failed' => $php, 'json_tasks' => $json]]);
    $services->set(Ledger::class)->args(['%env(APP_LEDGER)%']);
    $services->set(SendersByMessage::class)->decorate('messenger.senders_locator')
        ->args(['$senders' => service_locator(['php' => service('messenger.transport.php'), 'json' => service('messenger.transport.json')])]);
    // By tags, and not by attributes: those of Symfony 5.4 do not know "sign".
    foreach ([[DoTask::class, Task::class, 0], [First::class, Pair::class, 1], [Second::class, Pair::class, 0], [DoItems::class, Item::class, 0]] as [$handler, $message, $priority]) {
        $services->set($handler)->tag('messenger.message_handler', ['handles' => $message, 'priority' => $priority]);
    }
    // Absent in the code before a deployment.
    if (class_exists(DoSigned::class)) {
        $services->set(DoSigned::class)->tag('messenger.message_handler', ['handles' => Signed::class, 'sign' => true]);
    }
};
